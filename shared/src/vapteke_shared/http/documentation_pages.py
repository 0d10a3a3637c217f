"""The documentation pages of a service. A Content-Security-Policy forbids them to load anything from elsewhere."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response

from vapteke_shared.contract import asyncapi_page
from vapteke_shared.http import openapi

_PAGES = Path(str(files("vapteke_shared.http"))) / "pages"
_BUNDLES = Path(str(files("fastapi_standalone_docs"))) / "static"
_FILES: Final[Mapping[str, Path]] = {
    "/docs/": _PAGES / "swagger.html",
    "/docs/page.js": _PAGES / "swagger.js",
    "/docs/swagger-ui-bundle.js": _BUNDLES / "swagger" / "swagger-ui-bundle.js",
    "/docs/swagger-ui.css": _BUNDLES / "swagger" / "swagger-ui.css",
    "/redoc/": _PAGES / "redoc.html",
    "/redoc/page.js": _PAGES / "redoc.js",
    "/redoc/page.css": _PAGES / "redoc.css",
    "/redoc/redoc.standalone.js": _BUNDLES / "redoc" / "redoc.standalone.js",
    "/redoc/logo-mini.svg": _BUNDLES / "redoc" / "logo-mini.svg",
    "/redoc//logo-mini.svg": _BUNDLES / "redoc" / "logo-mini.svg",  # the bundle builds this path
}
_TOPICS: Final = ("/asyncapi.json", "/asyncapi/", "/asyncapi/page.css")

PATHS: Final = frozenset({*_FILES, *_TOPICS, "/docs", "/redoc", "/asyncapi", "/openapi.json"})
"""Every path that `install` may add. All are public: none contains personal data."""

# ReDoc writes two style elements: an empty one, which it fills by script, and one for its scroll bars
_REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {_REDOC_STYLES}",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src blob:",  # ReDoc searches in a worker
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {"Content-Security-Policy": _POLICY}


def install(app: FastAPI, enabled: bool, asyncapi: Mapping[str, Any]) -> None:
    """Replace `app.openapi` by our own document, and add the documentation pages if `enabled`.

    The pages are those of the REST API and of the topics (`asyncapi`). The app must be created with `openapi_url=None`,
    and the caller must make PATHS public.
    """
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]
    if not enabled:
        return
    for path, endpoint in _endpoints(app, asyncapi).items():
        app.add_route(path, endpoint, include_in_schema=False)
        if path.endswith("/"):
            app.add_route(path[:-1], _with_slash, include_in_schema=False)


def _endpoints(app: FastAPI, asyncapi: Mapping[str, Any]) -> dict[str, Callable[[Request], Response]]:
    endpoints: dict[str, Callable[[Request], Response]] = {path: partial(_file, _FILES[path]) for path in _FILES}
    endpoints["/openapi.json"] = lambda _: JSONResponse(app.openapi())
    page = asyncapi_page.render(asyncapi)
    style = partial(_file, _PAGES / "asyncapi.css")
    answers = (lambda _: JSONResponse(asyncapi), lambda _: HTMLResponse(page, headers=_HEADERS), style)
    return endpoints | dict(zip(_TOPICS, answers, strict=True))


def _file(file: Path, _: Request) -> Response:
    return FileResponse(file, headers={"Cache-Control": "max-age=3600", **_HEADERS})


def _with_slash(request: Request) -> Response:
    """Redirect to the same path with a slash. The redirect is relative, to work behind any prefix of a gateway."""
    return RedirectResponse(request.url.path.rpartition("/")[2] + "/")

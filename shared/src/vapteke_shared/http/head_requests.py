"""HEAD requests: with `NOT_BY_HEAD`, a route whose GET starts something rejects HEAD."""

from typing import Any, Final

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

IS_HEAD: Final = "vapteke.is_head"
"""The key in a request's scope that marks a HEAD, which the routes see as a GET."""


def _refuse_head(request: Request) -> None:
    if IS_HEAD in request.scope:
        raise HTTPException(405)


NOT_BY_HEAD: Final = Depends(_refuse_head)
"""A dependency that rejects HEAD with 405, for a route whose GET starts something. Crawlers, monitors and link checkers
send HEAD because HTTP defines HEAD as safe."""


def supports_head(route: Any) -> bool:
    """Whether a route with GET also supports HEAD, which is true unless the route depends on `NOT_BY_HEAD`."""
    dependant = getattr(route, "dependant", None)
    return dependant is None or all(each.call is not _refuse_head for each in dependant.dependencies)

"""A page in a real browser, which reports what its script has seen."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from vapteke_local.machine import ports
from vapteke_shared.process import http_server

_NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), None)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="Chromium is not installed: the package chromium-headless-shell has it"
)
_PAGE = """<!doctype html><script type="module">
const report = result => fetch("/", {method: "POST", body: JSON.stringify(result)});
const main = async () => { %s };
main().then(report, error => report({failed: String(error)}));
</script>"""


class Page:
    """Served from 127.0.0.1 and, as another origin, from localhost."""

    def __init__(self) -> None:
        self.port = ports.free_port()
        self.origin, self.other_origin = f"http://127.0.0.1:{self.port}", f"http://localhost:{self.port}"
        self._script, self._reported = "", asyncio.Event()
        self._result: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            self._result = json.loads((await receive())["body"])
            self._reported.set()
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": (_PAGE % self._script).encode()})

    async def run(self, script: str, origin: str, profile: Path) -> Any:
        """What the body of an async function returns in the browser."""
        self._script = script
        self._reported.clear()
        options = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}")
        process = await asyncio.create_subprocess_exec(
            *(str(BROWSER), "--headless", "--remote-debugging-port=0", *options, origin),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await asyncio.wait_for(self._reported.wait(), 90)
        finally:
            os.killpg(process.pid, 9)  # the group is its own: it was started with it
            await process.wait()
        return self._result


@asynccontextmanager
async def served_page() -> AsyncIterator[Page]:
    page = Page()
    async with http_server.served(page, "127.0.0.1", page.port):
        yield page

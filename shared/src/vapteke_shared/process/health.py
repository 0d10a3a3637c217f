"""Health of a process, and its metrics: /health/live, /health/ready and /metrics."""

import time
from collections.abc import Mapping
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vapteke_shared.process import logs

STARTING: Final = "starting"
WAITS: Final = "waits: "


log = logs.get(__name__)


class Health:
    """What the process needs, by name: what is wrong with it in words, or None when it is well.

    A cause is logged when it appears and when it is over, once, however often and by however many needs it is reported.
    """

    def __init__(self, *needs: str) -> None:
        self._faults: dict[str, str | None] = dict.fromkeys(needs, STARTING)
        self._stuck: dict[str, str | None] = {}
        self._expected: dict[str, float] = {}
        self.warnings: dict[str, str] = {}
        """By subject: what an operator should know of a process that is ready all the same."""

    def well(self, need: str) -> None:
        self._set(need, None)

    def ill(self, need: str, fault: str) -> None:
        self._set(need, fault)

    def _set(self, need: str, fault: str | None) -> None:
        before = self._causes()
        self._faults[need] = fault
        after = self._causes()
        for cause in after - before:
            log.warning("not ready", need=need, cause=cause)
        for cause in before - after:
            log.info("cause is over", need=need, cause=cause)

    def _causes(self) -> set[str]:
        return {fault.removeprefix(WAITS) for fault in self.faults.values()} - {STARTING}

    def stuck(self, need: str, fault: str | None) -> None:
        """What only a new process can mend, or None: never that something else is away."""
        self._stuck[need] = fault

    def expect(self, loop: str, until: float | None) -> None:
        """By then, on the monotonic clock, this loop shows again that it lives; None: it has ended."""
        self._expected[loop] = float("inf") if until is None else until

    @property
    def faults(self) -> Mapping[str, str]:
        return {need: fault for need, fault in self._faults.items() if fault is not None}

    @property
    def dead_ends(self) -> Mapping[str, str]:
        now = time.monotonic()
        hanging = {loop: "the loop hangs" for loop, until in self._expected.items() if until < now}
        return hanging | {need: fault for need, fault in self._stuck.items() if fault is not None}


def live(health: Health) -> Response:
    """The event loop turns, and nothing is stuck; an outage of Kafka must not restart every process."""
    if health.dead_ends:
        return JSONResponse({"status": "stuck", "faults": dict(health.dead_ends)}, 503)
    return JSONResponse({"status": "live"})


def ready(health: Health) -> Response:
    warnings = {"warnings": health.warnings} if health.warnings else {}
    if health.faults:
        return JSONResponse({"status": "not ready", "faults": dict(health.faults), **warnings}, 503)
    return JSONResponse({"status": "ready", **warnings})


def metrics(_: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def create_app(health: Health) -> Starlette:
    routes = [
        Route("/health/live", lambda _: live(health)),
        Route("/health/ready", lambda _: ready(health)),
        Route("/metrics", metrics),
    ]
    return Starlette(routes=routes)

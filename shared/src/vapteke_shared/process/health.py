"""The health of a process (`Health`), and the endpoints /health/live, /health/ready and /metrics."""

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
"""The prefix of the fault of a loop that waits for a dependency. The text after the prefix is the cause."""

log = logs.get(__name__)


class Health:
    """The state of each dependency of a process, by name: a fault in words, or None when the dependency is ready.

    Each dependency begins with the fault `starting`. While any dependency has a fault, /health/ready is red. A cause
    that is reported often, or for several dependencies, is logged once when it appears and once when it has
    disappeared from all of them.

    `Health` also collects the reasons for a restart: faults that `report_stuck` got, and loops without a heartbeat.
    While there is one, /health/live is red.
    """

    def __init__(self, *dependencies: str) -> None:
        self._faults: dict[str, str | None] = dict.fromkeys(dependencies, STARTING)
        self._stuck: dict[str, str | None] = {}
        self._expected: dict[str, float] = {}
        self.warnings: dict[str, str] = {}
        """What an operator should know although the process is ready, by subject."""

    def report_ready(self, dependency: str) -> None:
        self._set(dependency, None)

    def report_fault(self, dependency: str, fault: str) -> None:
        self._set(dependency, fault)

    def _set(self, dependency: str, fault: str | None) -> None:
        before = self._causes()
        self._faults[dependency] = fault
        after = self._causes()
        for cause in after - before:
            log.warning("not ready", dependency=dependency, cause=cause)
        for cause in before - after:
            log.info("cause is over", dependency=dependency, cause=cause)

    def _causes(self) -> set[str]:
        return {fault.removeprefix(WAITS) for fault in self.faults.values()} - {STARTING}

    def report_stuck(self, name: str, fault: str | None) -> None:
        """Report a fault that only a restart can end: /health/live is red until a call for `name` with None.

        Never report an outage here: the process would be restarted, and that does not end an outage.
        """
        self._stuck[name] = fault

    def expect_heartbeat(self, loop: str, until: float | None) -> None:
        """Note a heartbeat of `loop`, and expect the next one before `until` (time.monotonic()).

        From `until` on, /health/live is red until the next call for this loop. With None, no heartbeat is expected any
        more, because the loop has ended.
        """
        self._expected[loop] = float("inf") if until is None else until

    @property
    def faults(self) -> Mapping[str, str]:
        return {name: fault for name, fault in self._faults.items() if fault is not None}

    @property
    def restart_reasons(self) -> Mapping[str, str]:
        """The faults that only a restart can end, and the loops whose heartbeat is overdue, by name."""
        now = time.monotonic()
        hanging = {loop: "the loop hangs" for loop, until in self._expected.items() if until < now}
        return hanging | {name: fault for name, fault in self._stuck.items() if fault is not None}


def live(health: Health) -> Response:
    """The response of /health/live: 503 with the reasons when the process must be restarted, else 200.

    An outage of a dependency is not such a reason: otherwise one outage would restart every process.
    """
    if health.restart_reasons:
        return JSONResponse({"status": "stuck", "faults": dict(health.restart_reasons)}, 503)
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

"""The audit log's lines that a test has captured."""

import asyncio
import json
import time
from typing import Any

import pytest

DEADLINE_SECONDS = 30


class AuditLines:
    """The lines written so far for one address; None: for all addresses."""

    def __init__(self, captured: pytest.CaptureFixture[str], address: str | None = None) -> None:
        self._captured, self._address, self.found = captured, address, list[dict[str, Any]]()

    def __call__(self) -> list[dict[str, Any]]:
        written = [json.loads(line) for line in self._captured.readouterr().out.splitlines() if '"audit"' in line]
        self.found += [line for line in written if self._address in (None, line["address"])]
        return self.found

    async def until(self, refusals: int) -> list[dict[str, Any]]:
        """Wait until the lines account for this many refusals."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while sum(line.get("more", 1) for line in self()) < refusals:
            assert time.monotonic() < deadline, self.found
            await asyncio.sleep(0.05)
        return self.found

"""Who read or changed whom: one line of JSON on standard output for every such request, with ids and no data."""

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from fastapi import Request

from vapteke_shared import auth, problems

_encode = msgspec.json.Encoder().encode


def record(request: Request, action: str, ids: Sequence[int]) -> None:
    """Log that the request's principal did `action` (such as `customers.read`) to these people."""
    line = {
        "subject": auth.principal(request).subject,
        "ids": ids,
        "trace_id": problems.trace_id(request),
        "event": action,
        "level": "info",
        "logger": _log.name,
        "timestamp": datetime.now(UTC),
    }
    _log.info(_encode(line).decode())


class _StandardOutput(logging.Handler):
    """Raises when it cannot write: what is not on record must not be done."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(record.getMessage() + "\n")
        sys.stdout.flush()


_log = logging.getLogger("audit")
_log.setLevel(logging.INFO)  # whatever LOG_LEVEL says
_log.propagate = False
_log.addHandler(_StandardOutput())

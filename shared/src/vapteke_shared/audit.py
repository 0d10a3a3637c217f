"""Who read or changed whom: one line of JSON on standard output for every such request, with ids and no data."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from fastapi import Request

from vapteke_shared import auth, problems

_encode = msgspec.json.Encoder().encode


class Unrecorded(Exception):
    """Standard output does not take the line."""


def record(request: Request, action: str, ids: Sequence[int | str]) -> None:
    """Log that the request's principal did `action`, such as `customers.read`, to these people.

    Raises Unrecorded: what cannot be put on record is not shown; a change is made by then. No logger stands between,
    as LOG_LEVEL must not silence it, and it would cost more than all the rest.
    """
    line = {
        "subject": auth.principal(request).subject,
        "ids": ids,
        "trace_id": problems.trace_id(request),
        "event": action,
        "level": "info",
        "logger": "audit",
        "timestamp": datetime.now(UTC),
    }
    try:
        sys.stdout.write(_encode(line).decode() + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise Unrecorded(type(error).__name__) from None

"""Writes lines of the audit log: JSON on standard output, marked `"logger":"audit"`."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class AuditFailed(Exception):
    """A line of the audit log could not be written to standard output."""


def write(event: str, fields: Mapping[str, Any], level: str = "info") -> None:
    """Write one line of the audit log with `event`, `fields`, `level` and the time. Raises AuditFailed.

    The line does not go through a logger: LOG_LEVEL must not silence the audit log, and a logger would cost more than
    everything else here.
    """
    line = {**fields, "event": event, "level": level, "logger": "audit", "timestamp": datetime.now(UTC)}
    try:
        sys.stdout.write(_encode(line).decode() + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise AuditFailed(type(error).__name__) from None

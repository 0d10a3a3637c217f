"""The lines of the audit: JSON on standard output, marked `"logger":"audit"`."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


class Unrecorded(Exception):
    """Standard output does not take the line."""


def write(event: str, fields: Mapping[str, Any], level: str = "info") -> None:
    """Raises Unrecorded. No logger stands between: LOG_LEVEL must not silence it, and it would cost more than all the
    rest."""
    line = {**fields, "event": event, "level": level, "logger": "audit", "timestamp": datetime.now(UTC)}
    try:
        sys.stdout.write(_encode(line).decode() + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise Unrecorded(type(error).__name__) from None

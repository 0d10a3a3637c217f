"""JSON responses from plain values: rows become JSON without a response model in between."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, overload

import msgspec
from fastapi import Response


@overload
def instant(at: datetime) -> str: ...
@overload
def instant(at: None) -> None: ...
def instant(at: datetime | None) -> str | None:
    """The instant in UTC to the millisecond, as responses show it."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. Dates become ISO 8601; convert instants with `instant` first."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")

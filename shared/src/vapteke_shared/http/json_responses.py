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
    """The instant as text, as responses show it: in UTC, to the millisecond, such as `2026-01-31T09:30:00.000Z`.

    `at` must have a timezone. None stays None.
    """
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with `content` as JSON. Dates become ISO 8601; convert instants with `instant` first."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")

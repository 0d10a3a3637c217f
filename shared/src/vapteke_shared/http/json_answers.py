"""Answers made of plain values: rows become JSON without a model between them."""

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
    """In UTC to the millisecond, as the contract shows instants."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Dates become ISO 8601; instants are to be texts already (`instant`)."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")

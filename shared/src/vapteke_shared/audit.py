"""Who read or changed whom: one line of the audit for every such request, with ids and no data."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from vapteke_shared import audit_lines, callers, problems


def record(request: Request, action: str, ids: Sequence[int | str], **more: Any) -> None:
    """Log that the request's principal did `action`, such as `customers.read`, to these people; `more` are fields.

    Raises Unrecorded: what cannot be put on record is not shown; a change is made by then.
    """
    fields = {
        "subject": callers.principal(request).subject,
        "address": request.scope.get("address"),
        "ids": ids,
        "trace_id": problems.trace_id(request),
        **more,
    }
    audit_lines.write(action, fields)

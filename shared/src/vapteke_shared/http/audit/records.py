"""Who read or changed whom: one line of the audit for every such request, with ids and no data."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from vapteke_shared.http import problems
from vapteke_shared.http.access import callers
from vapteke_shared.http.audit import lines


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
    lines.write(action, fields)

"""Records who read or changed which people's data: one line per request in the audit log, with ids and no data."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from vapteke_shared.http import problems
from vapteke_shared.http.access import callers
from vapteke_shared.http.audit import writer


def record(request: Request, action: str, ids: Sequence[int | str], **more: Any) -> None:
    """Log that the caller did `action`, such as `customers.read`, to the people with these ids; `more` are fields.

    Raises AuditFailed, so that data is not shown when reading it cannot be recorded. A change is already committed by
    then.
    """
    fields = {
        "subject": callers.principal(request).subject,
        "address": request.scope.get("address"),
        "ids": ids,
        "trace_id": problems.trace_id(request),
        **more,
    }
    writer.write(action, fields)

"""Records in the audit log who read or changed which people's data, with their ids but without the data."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from vapteke_shared.http import problems
from vapteke_shared.http.access import callers
from vapteke_shared.http.audit import writer


def record(request: Request, action: str, ids: Sequence[int | str], **more: Any) -> None:
    """Write to the audit log that the caller did `action`, such as `customers.read`, to people or imports.

    `ids` identify the people or imports, and `more` are further fields of the line. Raises AuditFailed when the line
    cannot be written. Do not catch that: the endpoint must fail and show no data. A change is already committed by
    then. Raises ProblemError (401) on a public path, where the caller is unknown.
    """
    fields = {
        "subject": callers.principal(request).subject,
        "address": request.scope.get("address"),
        "ids": ids,
        "trace_id": problems.trace_id(request),
        **more,
    }
    writer.write(action, fields)

"""What an unfinished import waits for, in one sentence: `waiting_for` of the job."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from customers_api.imports.admissions import HAS_PASSED

PATIENCE_SECONDS: Final = 10
"""A shorter wait is normal and not reported."""

# Of an unfinished import: the next retry, since when a published range waits to be applied, when a range last moved,
# whether none is in flight, and when the import before it ended, because it may have waited for that.
COLUMNS: Final = """
    coalesce(waiting.attempt_failed, i.attempt_failed) AS attempt_failed,
    waiting.published_at, waiting.moved_at, waiting.is_read, waiting.last_end, now() AS now
"""
JOIN: Final = f"""
LEFT JOIN LATERAL (
    SELECT
        (
            SELECT c.attempt_failed || jsonb_build_object('chunk', c.chunk) FROM import_chunks c
            WHERE c.import_id = i.id AND c.status = 'requested' AND c.attempt_failed IS NOT NULL
            ORDER BY c.attempt_failed ->> 'retry_at' LIMIT 1
        ) AS attempt_failed,
        (SELECT max(c.moved_at) FROM import_chunks c WHERE c.import_id = i.id) AS moved_at,
        NOT EXISTS (SELECT FROM import_chunks c WHERE c.import_id = i.id AND c.status = 'requested') AS is_read,
        (
            SELECT ended.finished_at FROM imports ended WHERE ended.finished_at IS NOT NULL AND ended.kind <> 'rows'
            ORDER BY ended.requested_at DESC LIMIT 1
        ) AS last_end,
        (
            SELECT min(c.moved_at) FROM import_chunks c
            WHERE c.import_id = i.id AND c.status = 'published' AND NOT ({HAS_PASSED})
        ) AS published_at
    WHERE i.finished_at IS NULL
) AS waiting ON true
"""


def describe(job: Mapping[str, Any]) -> str | None:
    """What the import waits for, in one sentence without personal data. `job` is a row of `queries.find`.

    None if the import has ended, or if no attempt has failed and the wait is shorter than `PATIENCE_SECONDS`.
    """
    if job["finished_at"] is not None:
        return None
    if job["is_waiting"]:
        return "another import: this one starts when it has ended"
    if job["attempt_failed"] is not None:
        return _retry(json.loads(job["attempt_failed"]), job["now"])
    since, text = _wait(job)
    seconds = (job["now"] - since).total_seconds() if since else 0
    return f"{text} for {seconds:.0f} s" if seconds >= PATIENCE_SECONDS else None


def _wait(job: Mapping[str, Any]) -> tuple[datetime | None, str]:
    """Since when the import waits (None: unknown), and for what."""
    if job["status"] == "requested":
        who = "an importer, or customers-api work, which sends it the task"
        return max(job["requested_at"], job["last_end"] or job["requested_at"]), f"{who}: none has taken the plan"
    if job["status"] == "planning":
        return job["started_at"], "an importer: the plan has not been made"
    if job["published_at"]:
        return job["published_at"], "customers-api work: what was read has not been applied"
    if job["is_read"]:
        return job["moved_at"], "customers-api work: everything is read and applied, and the verdict has not been given"
    return job["moved_at"], "an importer: no range has been published"


def _retry(failed: Mapping[str, Any], now: datetime) -> str:
    what = "the plan" if failed.get("chunk") is None else f"range {failed['chunk']}"
    seconds = math.ceil((datetime.fromisoformat(failed["retry_at"]) - now).total_seconds())
    when = f"in {seconds} s" if seconds > 0 else "now"
    return f"{what}: attempt {failed['attempt'] + 1} of {failed['attempts']} {when}, because: {failed['error']}"

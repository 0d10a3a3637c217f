"""Decides the verdict on an import: completed, failed, cancelled, or not yet. `sweeper.py` ends the import with it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from customers_api.imports.state import CLASSES
from customers_api.imports.tables import HANDING_OUT

Job = Mapping[str, Any]
Chunks = Sequence[Mapping[str, Any]]
"""Key ranges with their counts and `passed`: whether everything that they published is applied."""
Verdict = tuple[str, str | None]
"""Status and error."""

_NOT_APPLIED = "what was read has not been applied", "customers-api work"
_NO_ANSWER = "no importer has answered", "legacy-importer work and customers-api work"
_DIFFERENCES_SHOWN = 5


def of(job: Job, chunks: Chunks) -> Verdict | None:
    """The verdict on an unfinished import. None while the plan, a range or the applying of events is still to come.

    After a cancel or an error, only the ranges in flight are still to come. A cancelled import without a plan ends at
    once.
    """
    if job["status"] not in HANDING_OUT:
        return ("cancelled", None) if job["cancelled_at"] else None
    published = [chunk for chunk in chunks if chunk["status"] == "published"]
    if not all(chunk["passed"] for chunk in published):
        return None
    if job["error"] or job["cancelled_at"]:  # ranges in flight may still end, no others are requested
        if any(chunk["status"] == "requested" for chunk in chunks):
            return None
    elif len(published) < len(chunks):
        return None
    if error := job["error"] or _differences(published):
        return "failed", error
    if job["cancelled_at"] and len(published) < len(chunks):
        return "cancelled", None
    return "completed", None


def of_stalled(job: Job, chunks: Chunks, since: datetime) -> Verdict:
    """The verdict, with an error, on an import that has made no progress since `since`, a time in UTC.

    It is `cancelled` if a cancel was requested, no error was reported, and no counts differ; otherwise `failed`.
    """
    if error := job["error"] or _differences(chunk for chunk in chunks if chunk["passed"]):
        return "failed", error
    waiting = any(chunk["status"] == "published" and not chunk["passed"] for chunk in chunks)
    what, who = _NOT_APPLIED if waiting else _NO_ANSWER
    error = f"{what} since {since:%Y-%m-%d %H:%M:%S} UTC: /health/ready of {who} shows what is missing"
    return "cancelled" if job["cancelled_at"] else "failed", error


def counts(chunks: Chunks) -> dict[str, int]:
    return {name: sum(chunk[name] for chunk in chunks) for name in CLASSES}


def _differences(chunks: Iterable[Mapping[str, Any]]) -> str | None:
    """A text that names the published ranges whose counts differ from what was read, the first five and how many more.

    None if there is no such range.
    """
    faults = [_difference(c) for c in chunks if c["status"] == "published" and c["counted"] != c["event_count"]]
    more = len(faults) - _DIFFERENCES_SHOWN
    return "; ".join(faults[:_DIFFERENCES_SHOWN]) + (f"; and {more} more" if more > 0 else "") or None


def _difference(chunk: Mapping[str, Any]) -> str:
    after = "the beginning" if chunk["after_id"] is None else chunk["after_id"]
    return (
        f"range {chunk['chunk']} (keys after {after} up to {chunk['upto_id']}): "
        f"{chunk['event_count']} rows were read, {chunk['counted']} were counted"
    )

"""Counts and logs what the consumers and the sweeper have done, once the transaction is committed.

A transaction that is rolled back is retried, so counting before the commit would count it twice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from prometheus_client import Counter
from vapteke_shared.contract import topics
from vapteke_shared.messaging import dead_letters
from vapteke_shared.messaging.dead_letters import DeadLetter
from vapteke_shared.process import logs

_VERDICT = ("read", "created", "updated", "unchanged", "skipped", "rejected", "repaired", "gone", "error")

log = logs.get(__name__)
verdicts = Counter("vapteke_import_verdicts", "Imports that have ended", ["status"])
ignored_events = Counter(
    "vapteke_ignored_events",
    "Events that change nothing: their import has ended or is unknown, their range was not dispatched, or they are "
    "invalid or repeated",
    ["reason"],
)
for status in ("completed", "failed", "cancelled"):
    verdicts.labels(status)
for reason in ("import_not_alive", "not_handed_out", "outside_of_the_range", "not_current", "senseless"):
    ignored_events.labels(reason)
for topic in (topics.LEGACY_CUSTOMERS, topics.IMPORT_PROGRESS):
    dead_letters.dead.labels(topic.name)


class Outcome(NamedTuple):
    """What a committed transaction did.

    `letters` are the dead letters that it wrote. `ignored` has a reason for each event that it ignored. `ended` is the
    import that it ended, if any.
    """

    letters: Sequence[DeadLetter] = ()
    ignored: Sequence[str] = ()
    ended: asyncpg.Record | None = None


def report(outcome: Outcome) -> None:
    """Count and log the dead letters, the ignored events and the end of an import. Call it once, after the commit."""
    for letter in outcome.letters:
        dead_letters.report(letter)
    for reason in outcome.ignored:
        ignored_events.labels(reason).inc()
    if outcome.ended is not None:
        report_verdict(outcome.ended)


def report_verdict(job: asyncpg.Record) -> None:
    """Count and log how an import ended. `job` is its row in `imports` after that. Call it once, after the commit."""
    verdicts.labels(job["status"]).inc()
    fields = {"import_id": str(job["id"])} | {name: job[name] for name in _VERDICT if job[name] is not None}
    if job["warnings"]:
        fields["warnings"] = job["warnings"]
    level = "error" if job["status"] == "failed" else "warning" if job["warnings"] else "info"
    getattr(log, level)(f"import {job['status']}", **fields)

"""Runs the doctor's checks in order. A check that depends on one that has failed is not made: it is unknown."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

from legacy_importer.doctor import data_checks, kafka_checks, server_checks, table_checks
from legacy_importer.doctor.findings import Finding, Status, Verdict, failure, unknown
from legacy_importer.doctor.subject import Subject
from legacy_importer.legacy_errors import LegacyError
from legacy_importer.settings import WorkSettings


class Check(NamedTuple):
    """A check, and the names of the checks that must not have failed."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Subject], Awaitable[Verdict]]


CHECKS = (
    Check("driver", (), server_checks.driver),
    Check("server", (), server_checks.server),
    Check("tls", ("driver", "server"), server_checks.tls),
    Check("login", ("tls",), server_checks.login),
    Check("clock", ("login",), server_checks.clock),
    Check("table", ("login",), table_checks.table),
    Check("columns", ("table",), table_checks.columns),
    Check("rights", ("columns",), table_checks.rights),
    Check("key", ("columns",), table_checks.key),
    Check("rowversion", ("table",), table_checks.rowversion),
    Check("time zone", ("rights",), data_checks.time_zone),
    Check("plan", ("rights", "key"), data_checks.plan),
    Check("range", ("plan",), data_checks.key_range),
    Check("fingerprint", ("plan",), data_checks.fingerprint),
    Check("cyrillic", ("range",), data_checks.cyrillic),
    Check("kafka", (), kafka_checks.kafka),
    Check("topics", ("kafka",), kafka_checks.topics),
)
"""In the order in which they are made and shown."""


async def examine(settings: WorkSettings) -> AsyncGenerator[Finding]:
    """Make all checks and yield what each finds, as soon as it is known. Only reads. Raises no error of a server."""
    subject, causes = Subject(settings), dict[str, str]()
    for check in CHECKS:
        started = time.monotonic()
        status, text = await _verdict(check, subject, causes)
        yield Finding(check.name, status, text, time.monotonic() - started)


async def _verdict(check: Check, subject: Subject, causes: dict[str, str]) -> Verdict:
    """Make the check. `causes` has the failed check for each check that has failed or was not made for that reason."""
    cause = next((causes[name] for name in check.needs if name in causes), None)
    verdict = unknown(f"not checked, because `{cause}` has failed") if cause else await _made(check, subject)
    if cause or verdict.status is Status.FAILURE:
        causes[check.name] = cause or check.name
    return verdict


async def _made(check: Check, subject: Subject) -> Verdict:
    try:
        return await check.run(subject)
    except LegacyError as error:
        return failure(error)

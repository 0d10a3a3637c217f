"""Can the rows be read as they are meant, and how long does it take? Time zone, plan, range, fingerprint, Cyrillic."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from vapteke_shared.contract.limits import CLOCK_TOLERANCE

from legacy_importer import legacy, values
from legacy_importer.columns import TEXTS
from legacy_importer.doctor import queries
from legacy_importer.doctor.findings import Verdict, failure, ok, unknown, warning
from legacy_importer.doctor.subject import Subject
from legacy_importer.legacy import KeyRange
from legacy_importer.legacy_errors import LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.translate import LegacyRow, UnreadableRow

_RANGE_ROWS = 10_000
"""The default of IMPORT_RANGE_ROWS, a setting of customers-api."""
_FIRST_YEAR = 1970
"""Earlier sign-ins are placeholders."""
_CYRILLIC = re.compile(r"[А-Яа-яЁё][\w .-]+")
_GARBLED = re.compile(r"\?\?|[À-ÿ]{2}")
"""Question marks in place of lost letters, or Latin-1 letters, which appear when CP1251 or UTF-8 is read wrongly."""


async def time_zone(subject: Subject) -> Verdict:
    settings, column = subject.settings, subject.settings.vaptekesync_columns.last_auth_at
    kind = subject.columns[column.casefold()].type
    if kind == "datetimeoffset":
        return ok(f"{column} has its own offset")
    if kind in TEXTS:
        return unknown(f"{column} is a text: compare a new sign-in with VAPTEKESYNC_TIMEZONE by hand")
    try:
        async with connect(settings) as connection:
            newest = await queries.newest(connection, settings)
    except LegacyUnavailable as error:  # the statement reads the whole table, and an import does not need it
        return unknown(f"{error}: compare a new sign-in with VAPTEKESYNC_TIMEZONE by hand")
    if newest is None or newest.year < _FIRST_YEAR:
        return unknown(f"{column} has no value yet: compare the first sign-in with VAPTEKESYNC_TIMEZONE by hand")
    ahead = values.instant(newest, ZoneInfo(settings.vaptekesync_timezone)) - datetime.now(UTC)
    if ahead > CLOCK_TOLERANCE:
        return warning(
            f"the newest value of {column} is {ahead.total_seconds() / 3600:.1f} h in the future: set "
            f"VAPTEKESYNC_TIMEZONE, now {settings.vaptekesync_timezone}, to the zone in which vAptekeSync writes"
        )
    return ok(f"in {settings.vaptekesync_timezone} the newest value of {column} is not in the future")


async def plan(subject: Subject) -> Verdict:
    settings, started = subject.settings, time.monotonic()
    try:
        async with connect(settings) as connection:
            subject.plan = await legacy.plan(connection, settings, _RANGE_ROWS)
    except LegacyUnavailable as error:
        return failure(
            f"{error}: a plan is one scan of the key's index; if the server is only slow, raise MSSQL_TIMEOUT"
        )
    rows, seconds = subject.plan.row_count, time.monotonic() - started
    if not rows:
        return warning(f"{subject.table} is empty: check VAPTEKESYNC_DB and VAPTEKESYNC_TABLE")
    if seconds > settings.mssql_timeout / 2:
        return warning(f"{seconds:.1f} s for {rows:,} rows; a plan fails after MSSQL_TIMEOUT: raise that setting")
    return ok(f"{rows:,} rows in {len(subject.plan.upper_bounds):,} ranges of {_RANGE_ROWS:,}; {seconds:.2f} s")


async def key_range(subject: Subject) -> Verdict:
    """Read the first key range, and keep its rows in the subject."""
    if not subject.plan.upper_bounds:
        return unknown(f"{subject.table} is empty")
    started, unreadable = time.monotonic(), 0
    async with connect(subject.settings) as connection:
        pages = legacy.read_range(connection, subject.settings, None, subject.plan.upper_bounds[0])
        async with aclosing(pages):
            async for page in pages:
                rows = list(page)
                subject.rows += [row for row in rows if isinstance(row, LegacyRow)]
                unreadable += sum(isinstance(row, UnreadableRow) for row in rows)
    seconds = time.monotonic() - started
    if unreadable:
        return warning(f"{unreadable:,} rows of the first range cannot be selected: check how the columns are computed")
    expected = seconds * len(subject.plan.upper_bounds)
    return ok(f"{len(subject.rows):,} rows in {seconds:.2f} s; reading all ranges takes about {expected:,.1f} s")


async def fingerprint(subject: Subject) -> Verdict:
    """Ask for the fingerprint of the first range. An import of changes asks for those of all ranges."""
    if not subject.plan.upper_bounds:
        return unknown(f"{subject.table} is empty")
    started, first = time.monotonic(), KeyRange(0, None, subject.plan.upper_bounds[0])
    async with connect(subject.settings) as connection:
        method = await legacy.fingerprint_method(connection, subject.settings)
        await legacy.give_up_locks_early(connection)
        try:
            await legacy.fingerprints_of(connection, subject.settings, method, [first])
        except LegacyUnavailable as error:
            return warning(f"{error}: an import of changes reads every range whose fingerprint it does not get")
    seconds = time.monotonic() - started
    if method.basis is None:
        return warning(
            f"SQL Server does not show the user what {subject.table} is, so every import reads all rows: ask the "
            "administrators for the right VIEW DEFINITION on it"
        )
    expected = seconds * len(subject.plan.upper_bounds)
    return ok(f"one range in {seconds:.2f} s; comparing all ranges takes about {expected:,.1f} s")


class Name(NamedTuple):
    """A first or last name as it was read."""

    column: str
    key: int
    text: str


async def cyrillic(subject: Subject) -> Verdict:
    """Whether names have Cyrillic letters, and the server finds one of them in the row that it was read from."""
    names = list(_names(subject))
    readable = [name for name in names if _CYRILLIC.fullmatch(name.text)]
    garbled = [name for name in names if _GARBLED.search(name.text)]
    if lost := sorted({name.column for name in garbled} - {name.column for name in readable}):
        return failure(_lost(subject, lost))
    if not readable:
        return unknown(f"no name in the first range of {subject.table} is Cyrillic: compare an imported name by hand")
    column, key, text = readable[0]
    async with connect(subject.settings) as connection:
        if not await queries.has_text(connection, subject.settings, column, key, text):
            return failure(
                f"the driver changes Cyrillic texts of {column}: use Microsoft's driver (VAPTEKESYNC_DRIVER)"
            )
    return ok("a Cyrillic name was read and sent back, and the server found it")


def _names(subject: Subject) -> Iterator[Name]:
    columns = subject.settings.vaptekesync_columns
    for row in subject.rows:
        for column, text in ((columns.firstname, row.firstname), (columns.lastname, row.lastname)):
            if text:
                yield Name(column, row.id, text)


def _lost(subject: Subject, lost: Iterable[str]) -> str:
    described = ", ".join(f"{column} (collation {subject.text(column).collation})" for column in lost)
    return (
        f"names have question marks or foreign letters instead of Cyrillic ones: {described}. The administrators "
        "of SQL Server must make the column nvarchar, or give it a Cyrillic collation; letters stored as ? are lost"
    )

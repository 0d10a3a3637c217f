"""Does the table fit the settings? Table, columns, rights, key, rowversion."""

from legacy_importer import fingerprints, legacy, table_check
from legacy_importer.columns import TEXTS
from legacy_importer.doctor import queries
from legacy_importer.doctor.findings import Verdict, failure, ok, unknown, warning
from legacy_importer.doctor.subject import Subject
from legacy_importer.legacy_errors import LegacyError, LegacyMisconfigured
from legacy_importer.login import connect

_PHONE_DIGITS = 10
"""A national number without the prefix 8."""
_CHANGES = {"INSERT", "UPDATE", "DELETE", "ALTER", "CONTROL", "TAKE OWNERSHIP"}
_SCRIPT = "`legacy-importer doctor --sql` writes a script for the administrators of SQL Server"


async def table(subject: Subject) -> Verdict:
    async with connect(subject.settings) as connection:
        try:
            subject.columns = await table_check.find_columns(connection, subject.settings)
        except LegacyMisconfigured as error:
            return failure(f"{error}. {_SCRIPT}")
        subject.is_view = await table_check.is_view(connection, subject.settings)
    return ok(f"{subject.table} is a {'view' if subject.is_view else 'table'}")


async def columns(subject: Subject) -> Verdict:
    """Checks the types as an import does, and whether the column of the phone is long enough for a phone."""
    names = subject.settings.vaptekesync_columns
    table_check.check_columns(subject.columns, subject.settings)
    async with connect(subject.settings) as connection:
        subject.texts = await queries.text_columns(connection, subject.settings)
    size = subject.text(names.phone).size
    if size is not None and 0 <= size < _PHONE_DIGITS:
        return warning(
            f"column {names.phone} holds {size} characters, but a phone has {_PHONE_DIGITS} digits or more: name "
            "another column in VAPTEKESYNC_COLUMNS, or make this one longer"
        )
    return ok(", ".join(_described(subject, name) for name in names.model_dump().values()))


def _described(subject: Subject, name: str) -> str:
    kind, size = subject.columns[name.casefold()].type, subject.text(name).size
    is_sized = kind in TEXTS and not kind.endswith("text") and size is not None
    return f"{name} {kind}({'max' if size == -1 else size})" if is_sized else f"{name} {kind}"


async def rights(subject: Subject) -> Verdict:
    """Reading is tried. What else the user may do is unknown if the server does not say it."""
    async with connect(subject.settings) as connection:
        try:
            await legacy.try_to_read(connection, subject.settings)
        except LegacyMisconfigured as error:
            return failure(f"{error}. {_SCRIPT}")
        try:
            granted = await queries.permissions(connection, subject.settings)
        except LegacyError as error:
            return unknown(f"the columns can be read; whether the user may also change the table is not known: {error}")
    return _limited(subject, granted)


def _limited(subject: Subject, granted: set[str]) -> Verdict:
    user = subject.settings.vaptekesync_user
    if not granted:
        return unknown(
            "the columns can be read; the server does not say what else the user may do: ask the administrators "
            f"of SQL Server to check that {user} has SELECT on {subject.table} and nothing else"
        )
    if excess := sorted(granted & _CHANGES):
        return warning(f"{user} may change {subject.table}: revoke {', '.join(excess)}, an import needs only SELECT")
    return ok(f"{user} may read all columns, and may not change the table")


async def key(subject: Subject) -> Verdict:
    name = subject.settings.vaptekesync_columns.id
    async with connect(subject.settings) as connection:
        try:
            warnings = await table_check.check_key(connection, subject.settings, subject.columns)
        except LegacyMisconfigured as error:
            return failure(error if subject.is_view else f"{error}. {_SCRIPT}")
    if warnings:
        return warning(f"{'. '.join(warnings)}: the author of the view must keep it unique")
    return ok(f"{name} is never null, and has a unique index of its own")


async def rowversion(subject: Subject) -> Verdict:
    """Never fails: an import works with or without a rowversion."""
    found = [name for name, column in subject.columns.items() if column.type == fingerprints.ROWVERSION]
    if found and not subject.is_view:
        return ok(f"{found[0]} shows which rows have changed")
    kind = "is a view" if subject.is_view else "has no rowversion"
    return ok(f"{subject.table} {kind}: hashes of its rows show which have changed")

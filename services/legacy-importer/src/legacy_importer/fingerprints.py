"""Row fingerprints, by which an import recognises key ranges in which nothing has changed since they were read.

vAptekeSync computes the fingerprint of each row: 64 bits of a hash over its rowversion, if the table has one, or else
over the columns that we read. The fingerprint of a range is the number of its rows and the sum of their fingerprints.
The importer adds up the rows that it publishes, so the fingerprint of a range is that of exactly these rows.

Changed rows have the same sum by chance, once in 2^64 cases. Rowversions themselves are not added up, because they are
small and near each other: when a row with version 9 goes, and a late commit turns another's 3 into 7 and adds a 5, the
number and the sum stay.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from vapteke_shared.contract import limits, phones, texts
from vapteke_shared.contract.events.legacy_customers import IN_THE_FUTURE

from legacy_importer import column_types, translate, values
from legacy_importer.column_types import quoted
from legacy_importer.columns import TEXTS
from legacy_importer.settings import LegacySettings

IDENTITY: Final = (
    "SELECT @@SERVERNAME, DB_NAME(), d.create_date, o.object_id, o.type_desc, o.modify_date FROM sys.objects AS o "
    "JOIN sys.databases AS d ON d.database_id = DB_ID() WHERE o.object_id = OBJECT_ID(?)"
)
_TEXT_CHARACTERS = 400  # the whole text of CONCAT must stay below 4,000 characters
_DATES = ("date", "smalldatetime", "datetime", "datetime2", "datetimeoffset")
ROWVERSION: Final = "timestamp"
"""The type of a rowversion in the system views of SQL Server."""
_BINARY_BYTES = {"float": 8, "real": 4, ROWVERSION: 8}

Row = translate.LegacyRow | translate.UnreadableRow


class Method(NamedTuple):
    """How rows are selected with their fingerprints, and the basis of these.

    `select_list` has a column for each field of LegacyRow. The last of them is `expression`, the fingerprint. Only
    fingerprints with the same `basis` can be compared. None: they cannot be compared with any. `columns` is the result
    of `column_types.described`.
    """

    select_list: str
    expression: str
    basis: dict[str, str] | None
    columns: dict[str, str]


def method(types: Mapping[str, str], identity: Sequence[Any] | None, settings: LegacySettings) -> Method:
    """`types` is the result of `column_types.types`, and `identity` the row that IDENTITY selects, or None.

    Rows of a view are hashed, because what it shows may change without a new rowversion.
    """
    version = next((column for column, kind in types.items() if kind == ROWVERSION), None)
    types = {column.casefold(): kind for column, kind in types.items()}
    is_table = identity is not None and identity[4] == "USER_TABLE"
    ours = settings.vaptekesync_columns.model_dump().values()
    expression = _hash([version] if version is not None and is_table else ours, types)
    select_list = f"{column_types.select_list(types, settings)}, {expression}"
    basis = None if identity is None else _basis(identity, select_list, settings)
    return Method(select_list, expression, basis, column_types.described(types, settings))


def _hash(columns: Iterable[str], types: Mapping[str, str]) -> str:
    """64 bits of a hash over the text of the columns: each with its length before it, so that null is not empty."""
    parts = [f"DATALENGTH({quoted(c)}), ':', {_text(quoted(c), types.get(c.casefold(), ''))}, ';'" for c in columns]
    return f"CAST(SUBSTRING(HASHBYTES('SHA2_256', CONCAT({', '.join(parts)})), 1, 8) AS bigint)"


def _text(column: str, kind: str) -> str:
    if kind in TEXTS:
        return f"CAST({column} AS nvarchar({_TEXT_CHARACTERS}))"
    if kind in _DATES:  # without a style, a datetime loses its seconds
        return f"CONVERT(nvarchar(40), {column}, 121)"
    if kind in ("money", "smallmoney"):  # without a style, they lose two of four decimals
        return f"CONVERT(nvarchar(40), {column}, 2)"
    if kind in _BINARY_BYTES:  # the text of floats has six digits, and a rowversion has none
        return f"CONVERT(nvarchar(40), CAST({column} AS binary({_BINARY_BYTES[kind]})), 2)"
    return f"CAST({column} AS nvarchar(40))"


def _basis(identity: Sequence[Any], select_list: str, settings: LegacySettings) -> dict[str, str]:
    server, database, created_at, table_id, _, altered_at = identity
    return {
        "server": str(server),
        "database": str(database),
        "database_created_at": created_at.isoformat(),  # a database that is restored is created again
        "table_id": str(table_id),
        "table_altered_at": altered_at.isoformat(),
        "columns": _digest(select_list),
        "timezone": settings.vaptekesync_timezone,
        "genders": _digest(settings.vaptekesync_genders.model_dump_json()),
        "translation": _TRANSLATION,
    }


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


_TRANSLATION = _digest(
    *(Path(str(module.__file__)).read_text() for module in (translate, values, texts, phones, limits))
)
"""Changes with the code that translates rows: other code may make other events of the same rows."""


class RangeSum:
    """Adds up the fingerprint of a range while its rows are read.

    A value that lies in the future is unusable now, but will be usable then, although the row has not changed. So the
    fingerprint expires at `valid_until`, a day before the earliest such value. None: it does not expire.
    """

    def __init__(self) -> None:
        self._rows = self._sum = 0
        self._is_complete = True
        self.valid_until: datetime | None = None

    def add(self, rows: Sequence[Row], events: Sequence[translate.CustomerOrRejection] = ()) -> None:
        """Add rows. `events` are what they were translated into, in the same order."""
        self._note_future(rows, events)
        found = [row.fingerprint for row in rows]
        self._rows += len(found)
        if None in found:
            self._is_complete = False
        else:
            self._sum += sum(found)  # type: ignore[arg-type]

    def _note_future(self, rows: Sequence[Row], events: Sequence[translate.CustomerOrRejection]) -> None:
        for row, event in zip(rows, events, strict=False):
            for field, reason in (getattr(event, "unusable", None) or {}).items():
                if reason == IN_THE_FUTURE:
                    day = values.dated(getattr(row, field))
                    assert day is not None, "an empty value does not lie in the future"
                    # a day covers time zones and the tolerance for clocks
                    until = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=1)
                    self.valid_until = min(until, self.valid_until or until)

    @property
    def fingerprint(self) -> str | None:
        """None if a row had none: it could not be selected."""
        return of_range(self._rows, self._sum) if self._is_complete else None


def rows(fingerprint: str) -> int:
    """How many rows the range had."""
    return int(fingerprint.partition(":")[0])


def of_range(rows: int, total: int) -> str:
    """The fingerprint of a range: its number of rows, and the sum of their fingerprints."""
    return f"{rows}:{total}"

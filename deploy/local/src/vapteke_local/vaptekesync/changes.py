"""Changes of the rows while the server runs, and the journal that lets them survive a restart.

A change is a JSON object; values may be strings as a person types them, dates in ISO 8601, `NULL` or null for null:

    {"do": "set", "id": 5, "values": {"Phone": "+7 902 516-31-11"}}
    {"do": "add", "values": {"ID": 6, "Phone": null}}
    {"do": "remove", "id": 5}
    {"do": "table", "table": {…}, "names": {"ClientID": "ID"}}

`table` replaces the definition (the form of `table.to_json`); rows keep the columns of the same name, or of the old
name that `names` gives, and lose the others.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vapteke_local.vaptekesync import sqltypes, table
from vapteke_local.vaptekesync.rows import BadValue, Rows
from vapteke_local.vaptekesync.table import Column, UnknownColumn

Change = dict[str, Any]
# What a change that makes no sense raises; NoSuchRow is a LookupError, BadValue and DuplicateKey are ValueErrors.
REFUSED = (ValueError, LookupError, UnknownColumn)


def make(rows: Rows, change: Change) -> Rows:
    """The rows after the change: the same object, or another one under another definition. Raises REFUSED."""
    try:
        action = ACTIONS[change["do"]]
    except KeyError:
        raise ValueError(f"`do` is one of {', '.join(ACTIONS)}") from None
    try:
        return action(rows, change)
    except KeyError as missing:
        raise ValueError(f"{change['do']} wants {missing}") from None


def _set(rows: Rows, change: Change) -> Rows:
    rows.change(key(rows, change), _values(rows, change))
    return rows


def _add(rows: Rows, change: Change) -> Rows:
    rows.add(_values(rows, change))
    return rows


def _remove(rows: Rows, change: Change) -> Rows:
    rows.remove(key(rows, change))
    return rows


def _table(rows: Rows, change: Change) -> Rows:
    return rows.under(table.from_json(change["table"]), change.get("names", {}))


ACTIONS: dict[str, Callable[[Rows, Change], Rows]] = {"set": _set, "add": _add, "remove": _remove, "table": _table}


def key(rows: Rows, change: Change) -> Any:
    """The row that a change is about."""
    return _value(rows.table.column(rows.table.key), change["id"])


def _values(rows: Rows, change: Change) -> dict[str, Any]:
    values: Mapping[str, Any] = change["values"]
    return {name: _value(rows.table.column(name), value) for name, value in values.items()}


def _value(column: Column, value: Any) -> Any:
    try:
        return sqltypes.from_text(column.type, value)
    except (ValueError, TypeError):
        raise BadValue(f"column {column.name}: not a {column.type}; {_hint(column)}") from None


def _hint(column: Column) -> str:
    if column.type.name == "date":
        return "write 2001-12-31"
    if column.type.name.startswith("datetime"):
        return "write 2001-12-31T23:59:58.123, without a time zone"
    return "write a whole number" if column.type.name in sqltypes.INTEGERS else "write 0 or 1"


class Journal:
    """A file of changes, one JSON object a line; without a path it remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: io.BufferedRandom | None = None

    def replay(self, rows: Rows) -> Rows:
        """Opens the file. A line that a killed server left unfinished was never answered: it is cut off."""
        if self._path is None:
            return rows
        self._path.touch()
        self._file = self._path.open("r+b")
        whole = self._file.read().rpartition(b"\n")[0]
        for line in whole.splitlines():
            rows = make(rows, json.loads(line))
        self._file.truncate(len(whole) + 1 if whole else 0)
        self._file.seek(0, io.SEEK_END)
        return rows

    def make(self, rows: Rows, change: Change) -> Rows:
        """Makes the change and writes it down. Raises REFUSED; then nothing is written."""
        changed = make(rows, change)
        if self._file is not None:
            self._file.write(json.dumps(change, default=str, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        return changed

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

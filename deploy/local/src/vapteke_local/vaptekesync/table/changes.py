"""Changes of the rows, and of the table's definition, while the server runs.

A change is a JSON object. Its values may be texts: dates are in ISO 8601, and `NULL` means null, as null does.

    {"do": "set", "id": 5, "values": {"Phone": "+7 902 516-31-11"}}
    {"do": "add", "values": {"ID": 6, "Phone": null}}
    {"do": "remove", "id": 5}
    {"do": "table", "table": {…}, "names": {"ClientID": "ID"}}

`table` replaces the definition with another one, in the form of `definition.to_json`. `names` gives the old names of
columns that are renamed (new name → old name). Rows keep the values of columns that both definitions have, and have
NULL in new columns, also in those whose old name does not exist.

`set` and `add` may carry the `rowversion` that the row gets; without it, the row gets the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vapteke_local.vaptekesync.table import definition
from vapteke_local.vaptekesync.table.definition import Column, UnknownColumn
from vapteke_local.vaptekesync.table.rows import BadValue, Rows
from vapteke_local.vaptekesync.types import conversion, definitions

Change = dict[str, Any]
# Raised by an invalid change. NoSuchRow is a LookupError, BadValue and DuplicateKey are ValueErrors.
INVALID = (ValueError, LookupError, UnknownColumn)


def make(rows: Rows, change: Change) -> Rows:
    """Makes the change. Raises one of INVALID, and then nothing is changed.

    Returns the same object, with its rows changed, or a new object if the definition changes. So go on with the result.
    """
    try:
        action = ACTIONS[change["do"]]
    except KeyError:
        raise ValueError(f"`do` is one of {', '.join(ACTIONS)}") from None
    try:
        return action(rows, change)
    except KeyError as missing:
        raise ValueError(f"{change['do']} needs {missing}") from None


def _set(rows: Rows, change: Change) -> Rows:
    rows.change(key(rows, change), values(rows, change), change.get("rowversion"))
    return rows


def _add(rows: Rows, change: Change) -> Rows:
    rows.add(values(rows, change), change.get("rowversion"))
    return rows


def _remove(rows: Rows, change: Change) -> Rows:
    rows.remove(key(rows, change))
    return rows


def _table(rows: Rows, change: Change) -> Rows:
    return rows.under(definition.from_json(change["table"]), _object(change, "names") if "names" in change else {})


ACTIONS: dict[str, Callable[[Rows, Change], Rows]] = {"set": _set, "add": _add, "remove": _remove, "table": _table}


def key(rows: Rows, change: Change) -> Any:
    """The key of the row that `change` names by `id`, as a value of the key's type; None for NULL. Raises BadValue.

    The row need not exist. A change without `id` is a KeyError.
    """
    return _value(rows.table.column(rows.table.key), change["id"])


def values(rows: Rows, change: Change) -> dict[str, Any]:
    """The values that `set` or `add` gives to columns, as values of their types. Raises BadValue or UnknownColumn."""
    return {name: _value(rows.table.column(name), value) for name, value in _object(change, "values").items()}


def _object(change: Change, name: str) -> Mapping[str, Any]:
    found = change[name]
    if not isinstance(found, dict):
        raise ValueError(f"{change['do']} needs a JSON object as '{name}'")
    return found


def _value(column: Column, value: Any) -> Any:
    try:
        return conversion.from_text(column.type, value)
    except (ValueError, TypeError):
        raise BadValue(f"column {column.name}: not a {column.type}; {_hint(column)}") from None


def _hint(column: Column) -> str:
    name = column.type.name
    if name in definitions.INTEGERS:
        return "write a whole number"
    if name in ("datetime", "datetime2", "smalldatetime"):
        return "write 2001-12-31T23:59:58.123, without a time zone"
    others = {
        "bit": "write 0 or 1",
        "date": "write 2001-12-31",
        "datetimeoffset": "write 2001-12-31T23:59:58.123+03:00",
    }
    return others.get(name, "write a number such as 12.5")

"""Transactions that commit late: changes that are made now and become visible when their transaction is committed.

A change that names a `transaction` begins it unless it is open. As in SQL Server, the change locks its row and takes
its rowversion at once. So a transaction that commits late shows rowversions that are smaller than those that readers
have already seen.

    {"do": "set", "id": 5, "values": {"CityID": 7}, "transaction": "a"}
    {"do": "commit", "transaction": "a"}    or    {"do": "rollback", "transaction": "a"}
"""

from __future__ import annotations

from typing import Any

from vapteke_local.vaptekesync.table import changes
from vapteke_local.vaptekesync.table.changes import Change
from vapteke_local.vaptekesync.table.rows import DuplicateKey, NoSuchRow, Rows

ENDINGS = ("commit", "rollback")


class Locked(ValueError):
    """Another transaction has changed the row, or the table is to change while a transaction is open."""


class Transactions:
    """The open transactions, by name. They are lost when the server ends, as if it had rolled them back."""

    def __init__(self) -> None:
        self._open: dict[str, list[Change]] = {}
        self._holders: dict[Any, str] = {}

    def check_locks(self, rows: Rows, change: Change) -> None:
        """Raises Locked if the change would have to wait for an open transaction other than its own."""
        if not self._open:
            return
        if change.get("do") == "table":
            raise Locked("commit or roll back the open transactions before the table is altered")
        key = _key(rows, change)
        holder = self._holders.get(key)
        if holder not in (None, change.get("transaction")):
            raise Locked(f"transaction {holder} holds the row with {rows.table.key} {key}")

    def hold(self, rows: Rows, change: Change) -> None:
        """Keeps a change until its transaction ends. Raises Locked, or one of changes.INVALID; then nothing is kept."""
        self.check_locks(rows, change)
        held, name, key = dict(change), change["transaction"], _key(rows, change)
        if change["do"] != "remove":
            changes.values(rows, change)
        is_ours = key in self._holders
        if change["do"] == "add" and key in rows and not is_ours:
            raise DuplicateKey(f"a row with {rows.table.key} {key} exists already")
        if change["do"] != "add" and key not in rows and not is_ours:
            raise NoSuchRow(f"no row with {rows.table.key} {key}")
        held["rowversion"] = rows.next_rowversion()
        del held["transaction"]
        self._open.setdefault(name, []).append(held)
        self._holders[key] = name

    def end(self, name: str) -> list[Change]:
        """Ends the transaction and releases its rows. Returns its changes in their order, for a commit.

        Raises LookupError if no such transaction is open.
        """
        if name not in self._open:
            raise LookupError(f"no transaction {name} is open")
        self._holders = {key: holder for key, holder in self._holders.items() if holder != name}
        return self._open.pop(name)


def _key(rows: Rows, change: Change) -> Any:
    """The key of the changed row. Raises one of changes.INVALID."""
    if change["do"] != "add":
        return changes.key(rows, change)
    values = {name.casefold(): value for name, value in change["values"].items()}
    return changes.key(rows, {"id": values.get(rows.table.key.casefold())})

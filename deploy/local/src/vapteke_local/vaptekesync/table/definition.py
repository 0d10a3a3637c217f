"""The definition of the one table. A test can pass another definition than CUSTOMERS."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from vapteke_local.vaptekesync.types import definitions
from vapteke_local.vaptekesync.types.definitions import COLLATIONS, SqlType

Kind = Literal["PRIMARY KEY", "UNIQUE", "UNIQUE INDEX"]
ObjectType = Literal["USER_TABLE", "VIEW"]


class UnknownColumn(Exception):
    """The table has no column of that name."""


@dataclass(frozen=True)
class Column:
    name: str
    type: SqlType
    nullable: bool = True
    may_be_read: bool = True


@dataclass(frozen=True)
class Constraint:
    name: str
    kind: Kind
    columns: tuple[str, ...]
    has_filter: bool = False
    is_disabled: bool = False

    @property
    def holds(self) -> bool:
        """Whether the constraint applies to all rows: it has no filter and is not disabled."""
        return not (self.has_filter or self.is_disabled)


@dataclass(frozen=True)
class Table:
    """The definition of a table. Rows are stored and read in the order of the column `key`.

    The keys are unique only if `constraints` say so. `synonyms` are other names of the table in the same schema.
    `permissions` are what the server reports as the user's rights on the whole table; they have no effect.
    """

    schema: str
    name: str
    columns: tuple[Column, ...]
    key: str
    constraints: tuple[Constraint, ...] = ()
    collation: str = "Cyrillic_General_CI_AS"
    type: ObjectType = "USER_TABLE"
    synonyms: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ("SELECT",)
    positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        positions = {column.name.casefold(): position for position, column in enumerate(self.columns)}
        object.__setattr__(self, "positions", positions)
        if len(positions) < len(self.columns):
            raise ValueError("two columns have the same name")
        if self.collation not in COLLATIONS:
            raise ValueError(f"the stand-in does not support this collation: {self.collation}")
        for name in (self.key, *(name for constraint in self.constraints for name in constraint.columns)):
            self.position(name)

    def position(self, column: str) -> int:
        try:
            return self.positions[column.casefold()]
        except KeyError:
            raise UnknownColumn(column) from None

    def column(self, name: str) -> Column:
        return self.columns[self.position(name)]

    @property
    def key_position(self) -> int:
        return self.position(self.key)

    @property
    def rowversion_position(self) -> int | None:
        """The position of the first rowversion column; None if the table has no such column."""
        return next((position for position, column in enumerate(self.columns) if column.type.is_rowversion), None)

    @property
    def modified_at(self) -> datetime:
        """A made-up modify_date for sys.objects. Another definition has another one, also after a restart."""
        return datetime(2020, 1, 1) + timedelta(seconds=zlib.crc32(repr(self).encode()) // 32)

    @property
    def key_is_unique(self) -> bool:
        return any(
            constraint.holds
            and len(constraint.columns) == 1
            and self.position(constraint.columns[0]) == self.key_position
            for constraint in self.constraints
        )

    @property
    def collation_bytes(self) -> bytes:
        return COLLATIONS[self.collation][0]

    @property
    def codepage(self) -> str:
        return COLLATIONS[self.collation][1]

    def without(self, column: str) -> Table:
        """The same table without a column, and without the constraints that name this column.

        Raises UnknownColumn, also for the key, which cannot be removed.
        """
        gone = self.column(column)
        kept = tuple(c for c in self.constraints if all(self.column(name) != gone for name in c.columns))
        return replace(self, columns=tuple(c for c in self.columns if c != gone), constraints=kept)

    def altered(
        self, column: str, *, name: str | None = None, sql_type: str | None = None, nullable: bool | None = None
    ) -> Table:
        """The same table with another name, type or nullability of one column; None keeps the old one.

        A new name is also used in `key` and in the constraints. Raises UnknownColumn, and ValueError for a name that is
        taken or a type that is not supported.
        """
        old = self.column(column)
        new = Column(
            name or old.name,
            definitions.parse(sql_type) if sql_type else old.type,
            old.nullable if nullable is None else nullable,
            old.may_be_read,
        )
        renamed = tuple(
            replace(c, columns=tuple(new.name if self.column(n) == old else n for n in c.columns))
            for c in self.constraints
        )
        return replace(
            self,
            columns=tuple(new if c == old else c for c in self.columns),
            key=new.name if self.column(self.key) == old else self.key,
            constraints=renamed,
        )


CUSTOMERS = Table(
    schema="dbo",
    name="Customers",
    columns=(
        Column("ID", SqlType("int"), nullable=False),
        Column("Phone", SqlType("varchar", 400)),
        Column("FirstName", SqlType("varchar", 400)),
        Column("LastName", SqlType("nvarchar", 400)),
        Column("Email", SqlType("varchar", 400)),
        Column("Birthday", SqlType("date")),
        Column("Gender", SqlType("varchar", 40)),
        Column("CityID", SqlType("int")),
        Column("LastAuthAt", SqlType("datetime")),
    ),
    key="ID",
    constraints=(Constraint("PK_Customers", "PRIMARY KEY", ("ID",)),),
)


def to_json(table: Table) -> dict[str, Any]:
    return {
        "schema": table.schema,
        "name": table.name,
        "key": table.key,
        "collation": table.collation,
        "columns": [{"name": c.name, "type": str(c.type), "nullable": c.nullable} for c in table.columns],
        "constraints": [{"name": c.name, "kind": c.kind, "columns": list(c.columns)} for c in table.constraints],
    }


def from_json(data: dict[str, Any]) -> Table:
    """The table that `data`, in the form of `to_json`, describes.

    What this form lacks has its default: for example, there are no synonyms, and every constraint holds.
    Raises ValueError or UnknownColumn if the definition is invalid.
    """
    try:
        return Table(
            schema=data["schema"],
            name=data["name"],
            key=data["key"],
            collation=data.get("collation", CUSTOMERS.collation),
            columns=tuple(
                Column(c["name"], definitions.parse(c["type"]), c.get("nullable", True)) for c in data["columns"]
            ),
            constraints=tuple(
                Constraint(c["name"], _kind(c["kind"]), tuple(c["columns"])) for c in data.get("constraints", [])
            ),
        )
    except KeyError as missing:
        raise ValueError(f"the table's definition lacks {missing}") from None
    except (AttributeError, TypeError):
        raise ValueError("the table's definition has a value of the wrong kind; `stats` shows a definition") from None


def _kind(text: str) -> Kind:
    for kind in get_args(Kind):
        if text == kind:
            return kind  # type: ignore[no-any-return]
    raise ValueError(f"a constraint is PRIMARY KEY, UNIQUE or UNIQUE INDEX, not {text}")

"""A stand-in for vAptekeSync: a test double that speaks SQL Server's wire protocol (TDS 7.4).

It answers the importer's own statements (listed in `sql/statements.py`) from rows in memory, and misbehaves on command.
Except for `seed.py`, this package and `people` need only the standard library, so that the container image of the
stand-in needs no other package.
"""

from vapteke_local.vaptekesync.protocol.encryption import Encryption
from vapteke_local.vaptekesync.server.control_client import control
from vapteke_local.vaptekesync.server.server import Server
from vapteke_local.vaptekesync.server.start import serve
from vapteke_local.vaptekesync.session.faults import Fault, Faults
from vapteke_local.vaptekesync.session.state import Stats
from vapteke_local.vaptekesync.table.definition import CUSTOMERS, Column, Constraint, Table, UnknownColumn
from vapteke_local.vaptekesync.table.rows import BadValue, DuplicateKey, NoSuchRow, Rows
from vapteke_local.vaptekesync.types.definitions import SqlType

__all__ = [
    "CUSTOMERS",
    "BadValue",
    "Column",
    "Constraint",
    "DuplicateKey",
    "Encryption",
    "Fault",
    "Faults",
    "NoSuchRow",
    "Rows",
    "Server",
    "SqlType",
    "Stats",
    "Table",
    "UnknownColumn",
    "control",
    "serve",
]

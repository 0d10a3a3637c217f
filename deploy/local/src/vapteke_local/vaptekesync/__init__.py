"""A stand-in for vAptekeSync: a test double that speaks SQL Server's wire protocol (TDS 7.4).

It answers the importer's own statements (listed in `statements`) from rows in memory, and misbehaves on command.
"""

from vapteke_local.vaptekesync.backend import Stats
from vapteke_local.vaptekesync.controls import control
from vapteke_local.vaptekesync.encryption import Encryption
from vapteke_local.vaptekesync.faults import Fault, Faults
from vapteke_local.vaptekesync.rows import BadValue, DuplicateKey, NoSuchRow, Rows
from vapteke_local.vaptekesync.server import Server, serve
from vapteke_local.vaptekesync.sqltypes import SqlType
from vapteke_local.vaptekesync.table import CUSTOMERS, Column, Constraint, Table, UnknownColumn

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

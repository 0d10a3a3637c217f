"""The error that answers a statement which is not listed in `statements.py`."""

from __future__ import annotations

from vapteke_local.vaptekesync.protocol.token_stream import SqlError


def not_listed(near: str) -> SqlError:
    text = (
        f"Incorrect syntax near '{near}'. (This is a stand-in for vAptekeSync: it answers only"
        " the statements listed in vapteke_local.vaptekesync.sql.statements.)"
    )
    return SqlError(102, text, severity=15)

"""The tokens of a server's answer (MS-TDS 2.2.7)."""

from __future__ import annotations

import struct

DATABASE, LANGUAGE, PACKET_SIZE, COLLATION = 1, 2, 4, 7
BEGIN, COMMIT, ROLLBACK, RESET = 8, 9, 10, 18
MORE, ERROR, COUNT, ATTENTION = 0x01, 0x02, 0x10, 0x20
DONE, DONE_PROC, DONE_IN_PROC = b"\xfd", b"\xfe", b"\xff"
SELECT = 0xC1
NULLABLE = 0x01


class SqlError(Exception):
    """An error of SQL Server, which answers a request or a login. A severity of 20 or more ends the connection."""

    def __init__(self, number: int, message: str, severity: int = 16, state: int = 1) -> None:
        super().__init__(message)
        self.number = number
        self.message = message
        self.severity = severity
        self.state = state


def error(found: SqlError, server: str) -> bytes:
    return _message(0xAA, found.number, found.state, found.severity, found.message, server)


def info(number: int, state: int, text: str, server: str) -> bytes:
    return _message(0xAB, number, state, 0, text, server)


def _message(token: int, number: int, state: int, severity: int, text: str, server: str) -> bytes:
    body = struct.pack("<iBBH", number, state, severity, len(text)) + text.encode("utf-16-le")
    body += short_text(server) + short_text("") + struct.pack("<I", 1)
    return struct.pack("<BH", token, len(body)) + body


def short_text(text: str) -> bytes:
    return bytes((len(text),)) + text.encode("utf-16-le")


def environment(kind: int, new: bytes, old: bytes) -> bytes:
    return struct.pack("<BHB", 0xE3, 1 + len(new) + len(old), kind) + new + old


def counted(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def login_acknowledged(tds_version: int, program: str, version: tuple[int, int, int]) -> bytes:
    major, minor, build = version
    body = struct.pack(">BI", 1, tds_version) + short_text(program) + struct.pack(">BBH", major, minor, build)
    return struct.pack("<BH", 0xAD, len(body)) + body


def columns(described: list[tuple[str, bytes]]) -> bytes:
    """The COLMETADATA token of columns, each given as (name, TYPE_INFO)."""
    head = struct.pack("<BH", 0x81, len(described))
    return head + b"".join(struct.pack("<IH", 0, NULLABLE) + kind + short_text(name) for name, kind in described)


def done(kind: bytes, status: int = 0, rows: int | None = None) -> bytes:
    if rows is None:
        return kind + struct.pack("<HHQ", status, 0, 0)
    return kind + struct.pack("<HHQ", status | COUNT, SELECT, rows)


def return_status(code: int) -> bytes:
    return struct.pack("<Bi", 0x79, code)


def returned_handle(ordinal: int, handle: int | None) -> bytes:
    """The RETURNVALUE token that returns the handle of a prepared statement in output parameter number `ordinal`."""
    value = b"\0" if handle is None else struct.pack("<Bi", 4, handle)
    return struct.pack("<BH", 0xAC, ordinal) + short_text("") + struct.pack("<BIH", 1, 0, 0) + b"\x26\x04" + value

"""The first two messages of a connection: PRELOGIN and LOGIN7 (MS-TDS 2.2.6.4 and 2.2.6.5)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from vapteke_local.vaptekesync.protocol import encryption, token_stream
from vapteke_local.vaptekesync.protocol.token_stream import SqlError
from vapteke_local.vaptekesync.types.definitions import COLLATIONS
from vapteke_local.vaptekesync.types.field_reader import FieldReader

SERVER_NAME = "VAPTEKESYNC-STANDIN"
PROGRAM = "Microsoft SQL Server"
VERSION = (11, 0, 7001)
VERSIONS_SPOKEN = {0x730A0003, 0x730B0003, 0x74000004}
DEFAULT_PACKET_SIZE = 4096
SMALLEST_PACKET, LARGEST_PACKET = 512, 32767
ENCRYPTION, END = 1, 0xFF


class Login(NamedTuple):
    tds_version: int
    packet_size: int
    user: str
    password: str
    database: str


class Account(NamedTuple):
    """The only user that can log in, and the database of this user. The user may also open `master`."""

    database: str
    user: str
    password: str


def prelogin_answer(agreed: int) -> bytes:
    major, minor, build = VERSION
    options = {
        0: struct.pack(">BBHH", major, minor, build, 0),
        1: bytes((agreed,)),
        2: b"\0",
        3: b"",
        4: b"\0",
    }
    offset, headers = 5 * len(options) + 1, b""
    for option, value in options.items():
        headers += struct.pack(">BHH", option, offset, len(value))
        offset += len(value)
    return headers + bytes((END,)) + b"".join(options.values())


def asked_encryption(prelogin: bytes) -> int:
    fields = FieldReader(prelogin)
    while (option := fields.number(1)) != END:
        offset, size = struct.unpack(">HH", fields.take(4))
        if option == ENCRYPTION and size:
            return int(prelogin[offset]) & 0x03
    return encryption.NOT_SUPPORTED


def read(payload: bytes) -> Login:
    fields = FieldReader(payload, position=4)
    tds_version, packet_size = fields.number(4), fields.number(4)
    return Login(
        tds_version,
        _packet_size(packet_size),
        user=_text(payload, 40),
        password=_password(payload),
        database=_text(payload, 68),
    )


def _packet_size(asked: int) -> int:
    return max(SMALLEST_PACKET, min(asked or DEFAULT_PACKET_SIZE, LARGEST_PACKET))


def _data(payload: bytes, position: int) -> bytes:
    """The bytes of a LOGIN7 field of variable length.

    At `position`, `payload` contains the offset of these bytes and their length in UTF-16 characters.
    """
    fields = FieldReader(payload, position)
    offset, length = fields.number(2), fields.number(2)
    return FieldReader(payload, offset).take(2 * length)


def _text(payload: bytes, position: int) -> str:
    return _data(payload, position).decode("utf-16-le")


def _password(payload: bytes) -> str:
    plain = bytes(((byte ^ 0xA5) << 4 | (byte ^ 0xA5) >> 4) & 0xFF for byte in _data(payload, 44))
    return plain.decode("utf-16-le")


def check(login: Login, account: Account, is_open: bool) -> list[SqlError]:
    """The errors with which SQL Server would reject the login; an empty list if the login is valid.

    `is_open` says whether the database of the account can be used.
    """
    failed = SqlError(18456, f"Login failed for user '{login.user}'.", severity=14)
    if login.tds_version not in VERSIONS_SPOKEN:
        return [SqlError(17828, "The stand-in for vAptekeSync supports only TDS 7.3 and 7.4.", severity=20)]
    if login.user.casefold() != account.user.casefold() or login.password != account.password:
        return [failed]
    asked = login.database.casefold()
    if asked not in ("", "master") and not (is_open and asked == account.database.casefold()):
        text = f'Cannot open database "{login.database}" requested by the login. The login failed.'
        return [SqlError(4060, text, severity=11), failed]
    return []


def welcome(login: Login, account: Account, collation: str) -> bytes:
    size, text, none = str(login.packet_size), token_stream.short_text, token_stream.short_text("")
    return b"".join(
        (
            token_stream.environment(token_stream.DATABASE, text(account.database), text("master")),
            token_stream.info(5701, 2, f"Changed database context to '{account.database}'.", SERVER_NAME),
            token_stream.environment(token_stream.COLLATION, token_stream.counted(COLLATIONS[collation][0]), b"\0"),
            token_stream.environment(token_stream.LANGUAGE, text("us_english"), none),
            token_stream.info(5703, 1, "Changed language setting to us_english.", SERVER_NAME),
            token_stream.login_acknowledged(login.tds_version, PROGRAM, VERSION),
            token_stream.environment(token_stream.PACKET_SIZE, text(size), text(str(DEFAULT_PACKET_SIZE))),
            token_stream.done(token_stream.DONE),
        )
    )

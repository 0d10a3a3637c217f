"""The importer's own TLS handshake: whatever answers at the port, it raises no error."""

import asyncio
import struct

import pytest
from legacy_importer import tls_diagnosis
from legacy_importer.settings import LegacySettings


def message(payload: bytes) -> bytes:
    return struct.pack(">BBHI", 4, 1, 8 + len(payload), 0) + payload


OTHERS = {
    "MySQL": b"J\0\0\0\n8.0.36\0",
    "a mail server": b"220 mail.example.com ESMTP\r\n",
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an empty answer": message(b""),
    "options without an end": message(b"\1\0"),
    "an option beyond the end": message(struct.pack(">BHHB", 1, 900, 1, 0xFF)),
}


@pytest.mark.parametrize("answer", OTHERS.values(), ids=OTHERS.keys())
async def test_a_server_of_another_kind_tells_nothing_of_tls(answer: bytes) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        settings = LegacySettings(
            vaptekesync_host="127.0.0.1",
            vaptekesync_port=server.sockets[0].getsockname()[1],
            vaptekesync_db="vAptekeSync",
            vaptekesync_user="vaptekesync_user",
            vaptekesync_password="password",
            mssql_timeout=20,
        )

        assert await tls_diagnosis.tls_error(settings) is None

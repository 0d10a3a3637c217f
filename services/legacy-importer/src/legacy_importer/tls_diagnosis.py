"""Why FreeTDS gets no TLS connection: it does not say, so a handshake of our own is looked at. No login is sent.

Another kind of server may listen at the port: whatever it answers must not end in an error of ours.
"""

import asyncio
import ssl
import struct
from contextlib import suppress

from legacy_importer import legacy_errors
from legacy_importer.legacy_errors import LegacyMisconfigured
from legacy_importer.settings import LegacySettings

_PRELOGIN, _END_OF_MESSAGE, _HEADER = 18, 1, 8
_ENCRYPTION, _ON, _NOT_SUPPORTED, _END = 1, 1, 2, 0xFF
# Option, offset and length of the version and of the encryption that we want, then both.
_HELLO = struct.pack(">BHHBHHB", 0, 11, 6, _ENCRYPTION, 17, 1, _END) + bytes(6) + bytes((_ON,))


class NotTds(Exception):
    """The answer is not of SQL Server's protocol."""


async def failure(settings: LegacySettings) -> LegacyMisconfigured | None:
    """What is wrong with the server's TLS, if that can be seen within the deadline."""
    if settings.vaptekesync_encrypt == "no":
        return None
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, NotTds):
        async with asyncio.timeout(settings.mssql_timeout):
            reader, writer = await asyncio.open_connection(settings.vaptekesync_host, settings.vaptekesync_port)
            try:
                return legacy_errors.no_tls(await _seen(reader, writer, settings), settings)
            finally:
                writer.close()
    return None


async def _seen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: LegacySettings) -> str:
    """What OpenSSL says about the handshake; nothing when it succeeds."""
    _send(writer, _HELLO)
    if _encryption(await _receive(reader)) == _NOT_SUPPORTED:
        return "no TLS here"
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context(settings).wrap_bio(incoming, outgoing, server_hostname=settings.vaptekesync_host)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            _send(writer, outgoing.read())
            incoming.write(await _receive(reader))
        except ssl.SSLError as error:
            return str(error)
        else:
            return ""


def _context(settings: LegacySettings) -> ssl.SSLContext:
    """As tolerant of old TLS as FreeTDS, so that it is the certificate that is judged."""
    context = ssl.create_default_context(cafile=settings.vaptekesync_sslrootcert)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if settings.vaptekesync_trust_server_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(struct.pack(">BBHI", _PRELOGIN, _END_OF_MESSAGE, _HEADER + len(data), 0) + data)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    """One message."""
    message = b""
    while True:
        _, status, size, _ = struct.unpack(">BBHI", await reader.readexactly(_HEADER))
        if size < _HEADER:
            raise NotTds
        message += await reader.readexactly(size - _HEADER)
        if status & _END_OF_MESSAGE:
            return message


def _encryption(answer: bytes) -> int:
    """Raises NotTds."""
    place = 0
    try:
        while answer[place] != _END:
            option, offset, _ = struct.unpack_from(">BHH", answer, place)
            if option == _ENCRYPTION:
                return int(answer[offset])
            place += 5
    except (IndexError, struct.error):
        raise NotTds from None
    return _NOT_SUPPORTED

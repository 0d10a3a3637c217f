"""Finds out why FreeTDS cannot open a TLS connection, with a handshake of our own that sends no login.

FreeTDS does not report the cause. Another kind of server may listen at the port, so an unexpected answer is not an
error: it only means that no cause is found.
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
# Option, offset and length of the version and of the requested encryption, then the values of both.
_HELLO = struct.pack(">BHHBHHB", 0, 11, 6, _ENCRYPTION, 17, 1, _END) + bytes(6) + bytes((_ON,))


class NotTds(Exception):
    """The server's answer does not follow SQL Server's protocol."""


async def tls_error(settings: LegacySettings) -> LegacyMisconfigured | None:
    """The error, for the caller to raise, that says what is wrong with the server's TLS.

    None when encryption is off, when the handshake succeeds, and when no cause is found within MSSQL_TIMEOUT seconds,
    for example because the server does not answer. Never raises an error of the network.
    """
    if settings.vaptekesync_encrypt == "no":
        return None
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, NotTds):
        async with asyncio.timeout(settings.mssql_timeout):
            reader, writer = await asyncio.open_connection(settings.vaptekesync_host, settings.vaptekesync_port)
            try:
                return legacy_errors.from_error_text(await _handshake(reader, writer, settings), settings)
            finally:
                writer.close()
    return None


async def _handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: LegacySettings) -> str:
    """Send a prelogin message, then try a TLS handshake. Returns an empty text if the handshake succeeds.

    Otherwise returns OpenSSL's error text, or a text of ours if the server does not support encryption. Raises NotTds,
    IncompleteReadError and OSError.
    """
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
    """The TLS context for the handshake. Checks the certificate unless the settings accept any.

    The context accepts old TLS versions and weak ciphers as FreeTDS does, so only the certificate can be at fault.
    """
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
    """Read one message and return the contents of its packets. Raises NotTds, IncompleteReadError and OSError."""
    message = b""
    while True:
        _, status, size, _ = struct.unpack(">BBHI", await reader.readexactly(_HEADER))
        if size < _HEADER:
            raise NotTds
        message += await reader.readexactly(size - _HEADER)
        if status & _END_OF_MESSAGE:
            return message


def _encryption(answer: bytes) -> int:
    """The encryption option of a prelogin answer; `_NOT_SUPPORTED` if the answer has no such option. Raises NotTds."""
    position = 0
    try:
        while answer[position] != _END:
            option, offset, _ = struct.unpack_from(">BHH", answer, position)
            if option == _ENCRYPTION:
                return int(answer[offset])
            position += 5
    except (IndexError, struct.error):
        raise NotTds from None
    return _NOT_SUPPORTED

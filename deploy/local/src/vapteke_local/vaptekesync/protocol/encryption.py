"""TLS in TDS: PRELOGIN packets carry the handshake, then TLS records carry the packets (MS-TDS 2.2.6.5, 3.3)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

OFF, ON, NOT_SUPPORTED, REQUIRED = 0, 1, 2, 3
CHUNK = 1 << 16


@dataclass(frozen=True)
class Encryption:
    """The TLS that the server offers to a client. The login is always encrypted.

    The rest of the session is encrypted if the client asks for this or `is_forced` is set. A client that does not
    support TLS cannot log in.
    """

    context: ssl.SSLContext
    is_forced: bool = False

    def answer(self, asked: int) -> int:
        """The value of ENCRYPTION for the server's PRELOGIN. `asked` is the value in the client's PRELOGIN.

        ON and REQUIRED mean that the whole session is encrypted, OFF means only the login.
        """
        if asked in (ON, REQUIRED):
            return ON
        return REQUIRED if self.is_forced or asked == NOT_SUPPORTED else OFF


class Channel:
    """The TLS of one connection. It does no I/O: the caller passes bytes between a Channel and the socket.

    Only after `shake_hands` has reported the end of the handshake can it encrypt and decrypt.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self, data: bytes) -> tuple[bytes, bool]:
        """Continues the handshake with `data` from the client. Returns what to send, and whether the handshake is done.

        Raises ssl.SSLError if the handshake fails. Then `pending` returns the alert to send.
        """
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self.pending(), False
        return self.pending(), True

    def pending(self) -> bytes:
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        self._incoming.write(data)
        clear = bytearray()
        while True:
            try:
                clear += (part := self._tls.read(CHUNK))
            except ssl.SSLWantReadError:
                return bytes(clear)
            if not part:
                return bytes(clear)

    def encrypt(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self.pending()

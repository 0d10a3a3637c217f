"""Packets (MS-TDS 2.2.3): reads whole messages, writes packets with back-pressure, notices an attention at once."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, cast

from vapteke_local.vaptekesync.protocol.encryption import Channel

BATCH, RPC, ANSWER, ATTENTION, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 14, 16, 18
KINDS = {BATCH, RPC, ATTENTION, TRANSACTION, LOGIN, PRELOGIN}
HEADER = 8
END_OF_MESSAGE, IGNORE, RESET, RESET_KEEPING_TRANSACTION = 0x01, 0x02, 0x08, 0x10
# The writer waits when the socket has more than this still to send.
HIGH_WATER = 1 << 20


class Message(NamedTuple):
    """A message from the client.

    `resets`: the session must return to the state of a new connection before the message is answered. `ignored`: the
    client gave up the message before its end, so the message must not be carried out.
    """

    kind: int
    payload: bytes = b""
    resets: bool = False
    ignored: bool = False


class Connection(asyncio.Protocol):
    """The connection of one client. `messages` are the received messages that the session has not read yet.

    `attention` is set when the client cancels a request; the session must clear it when it acknowledges this. The same
    attention is also put into `messages`. `opened` is called at the first byte that arrives, so a client that only
    checks whether the port is open is not counted. `closed` is called when the connection is lost, but only after
    `opened`. Bytes that cannot be a packet abort the connection.
    """

    def __init__(self, opened: Callable[[Connection], None], closed: Callable[[Connection], None]) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.attention = asyncio.Event()
        self.packet_size = 4096
        self.tls: Channel | None = None
        self._opened = opened
        self._closed = closed
        self._writable = asyncio.Event()
        self._received = bytearray()
        self._payload = bytearray()
        self._resets = False
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._is_open:
            self._closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def write(self, data: bytes) -> None:
        self.transport.write(data if self.tls is None else self.tls.encrypt(data))

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            self._opened(self)
        try:
            self._received += data if self.tls is None else self.tls.decrypt(data)
        except ssl.SSLError:
            self.transport.abort()
            return
        while len(self._received) >= HEADER:
            length = int.from_bytes(self._received[2:4], "big")
            if self._received[0] not in KINDS or length < HEADER:
                self.transport.abort()
                return
            if len(self._received) < length:
                return
            packet = bytes(self._received[:length])
            del self._received[:length]
            self._take(packet)

    def _take(self, packet: bytes) -> None:
        kind, status = packet[0], packet[1]
        if kind == ATTENTION:
            self.attention.set()
            self.messages.put_nowait(Message(ATTENTION))
            return
        self._payload += packet[HEADER:]
        self._resets |= bool(status & (RESET | RESET_KEEPING_TRANSACTION))
        if status & END_OF_MESSAGE:
            message = Message(kind, bytes(self._payload), self._resets, ignored=bool(status & IGNORE))
            self.messages.put_nowait(message)
            self._payload.clear()
            self._resets = False

    async def drained(self) -> None:
        """Waits while too many written bytes are still to be sent, because the client is slow.

        Always lets other tasks run first, so that other connections are served and an attention can arrive.
        """
        await asyncio.sleep(0)
        await self._writable.wait()

    async def flushed(self) -> None:
        """Waits until everything that was written is passed to the kernel."""
        self.transport.set_write_buffer_limits(high=0)
        await self.drained()
        self.transport.set_write_buffer_limits(high=HIGH_WATER)


class Reply:
    """One message to the client. Its bytes are cut into packets, and full packets are sent while it is written.

    The caller must call `finish`, which sends the rest and marks the end of the message.
    """

    def __init__(self, connection: Connection, kind: int = ANSWER) -> None:
        self._connection = connection
        self._kind = kind
        self._size = connection.packet_size - HEADER
        self._full = _header(kind, 0, connection.packet_size)
        self._number = 0
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        self._pending += data
        # The last packet has the end mark, so a full packet is held back until more follows.
        count = (len(self._pending) - 1) // self._size
        if count > 0:
            self._send_full(count)

    def _send_full(self, count: int) -> None:
        parts: list[bytes | memoryview] = []
        with memoryview(self._pending) as pending:
            for start in range(0, count * self._size, self._size):
                parts += (self._full, self._next_number(), pending[start : start + self._size])
            self._connection.write(b"".join(parts))
            parts.clear()
        del self._pending[: count * self._size]

    def _next_number(self) -> bytes:
        self._number = self._number % 256 + 1
        return bytes((self._number % 256, 0))

    def finish(self) -> None:
        self._send_rest(END_OF_MESSAGE)

    def send_pending(self) -> None:
        """Sends what is written so far, without the mark of the end. More can be written to the message afterwards."""
        if self._pending:
            self._send_rest(0)

    def _send_rest(self, status: int) -> None:
        head = _header(self._kind, status, HEADER + len(self._pending))
        self._connection.write(head + self._next_number() + self._pending)
        self._pending.clear()


def _header(kind: int, status: int, length: int) -> bytes:
    """The first six bytes of a packet's header of eight. The caller appends the packet number and the window.

    `length` is that of the whole packet, including the header.
    """
    return bytes((kind, status)) + length.to_bytes(2, "big") + b"\0\0"

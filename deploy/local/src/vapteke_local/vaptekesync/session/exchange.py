"""Messages between one client and the server, before and after the login."""

from __future__ import annotations

from vapteke_local.vaptekesync.protocol import packets
from vapteke_local.vaptekesync.protocol.packets import Connection, Message, Reply
from vapteke_local.vaptekesync.session.interruptions import Silenced
from vapteke_local.vaptekesync.session.state import ServerState
from vapteke_local.vaptekesync.types.field_reader import Malformed


class Exchange:
    def __init__(self, connection: Connection, state: ServerState) -> None:
        self.connection = connection
        self.state = state

    async def next_message(self) -> Message:
        """Waits for the client's next message.

        Raises Silenced if the injected fault `silent`, set without `rows` or `statement`, strikes: neither this message
        nor a later one on this connection is answered.
        """
        message = await self.connection.messages.get()
        if self.state.faults.take("message"):
            raise Silenced
        return message

    async def expect(self, kind: int) -> bytes:
        """The payload of the next message. Raises Malformed for another type, and Silenced as `next_message`."""
        message = await self.next_message()
        if message.kind != kind:
            raise Malformed(f"a message of type {message.kind}, expected type {kind}")
        return message.payload

    def send(self, data: bytes, kind: int = packets.ANSWER) -> None:
        reply = Reply(self.connection, kind)
        reply.write(data)
        reply.finish()

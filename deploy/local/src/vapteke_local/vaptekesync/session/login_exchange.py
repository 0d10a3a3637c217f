"""The start of a session: encryption is negotiated, then the client logs in or is rejected."""

from __future__ import annotations

import asyncio
import logging
import ssl

from vapteke_local.vaptekesync.protocol import encryption, login, packets, token_stream
from vapteke_local.vaptekesync.protocol.encryption import Channel
from vapteke_local.vaptekesync.protocol.login import Login
from vapteke_local.vaptekesync.protocol.token_stream import DONE, SqlError
from vapteke_local.vaptekesync.session.exchange import Exchange
from vapteke_local.vaptekesync.session.interruptions import Dropped

log = logging.getLogger(__name__)


async def log_in(exchange: Exchange) -> None:
    """Negotiates encryption, reads the login and welcomes or rejects the client. Returns if the client is logged in.

    Raises Dropped if the client is rejected or TLS fails; the client has the reason by then. Raises Malformed for bytes
    that MS-TDS does not allow, and Silenced as `Exchange.next_message` does.
    """
    prelogin = await exchange.expect(packets.PRELOGIN)
    is_encrypted = await _agree_on_encryption(exchange, login.asked_encryption(prelogin))
    asked = login.read(await exchange.expect(packets.LOGIN))
    state = exchange.state
    state.stats.logins_received += 1
    if not is_encrypted:
        exchange.connection.tls = None
    errors = await _login_errors(exchange, asked)
    if errors:
        _reject(exchange, errors)
    exchange.send(login.welcome(asked, state.account, state.database.rows.table.collation))
    exchange.connection.packet_size = asked.packet_size


async def _login_errors(exchange: Exchange, asked: Login) -> list[SqlError]:
    state = exchange.state
    errors = login.check(asked, state.account, state.database.is_open)
    for fault in state.faults.take("login"):
        await asyncio.sleep(fault.seconds)
        if fault.kind == "fail":
            errors = [fault.error]
    return errors


def _reject(exchange: Exchange, errors: list[SqlError]) -> None:
    exchange.state.stats.logins_refused += 1
    sent = b"".join(token_stream.error(error, login.SERVER_NAME) for error in errors)
    exchange.send(sent + token_stream.done(DONE, token_stream.ERROR))
    raise Dropped


async def _agree_on_encryption(exchange: Exchange, asked: int) -> bool:
    """Answers the client's PRELOGIN and, if the server offers TLS, does the handshake.

    Returns whether the session stays encrypted after the login; False without TLS, even if the client requires it,
    which then hangs up. Raises Dropped if the handshake fails.
    """
    offered = exchange.state.encryption
    agreed = offered.answer(asked) if offered else encryption.NOT_SUPPORTED
    exchange.send(login.prelogin_answer(agreed))
    if offered:
        await _shake_hands(exchange, Channel(offered.context))
    elif asked in (encryption.ON, encryption.REQUIRED):
        log.warning("a client requires encryption, which this stand-in does not offer: set VAPTEKESYNC_ENCRYPT=no")
    return agreed in (encryption.ON, encryption.REQUIRED)


async def _shake_hands(exchange: Exchange, channel: Channel) -> None:
    is_done = False
    while not is_done:
        received = await exchange.expect(packets.PRELOGIN)
        try:
            answer, is_done = channel.shake_hands(received)
        except ssl.SSLError as error:
            log.info("TLS handshake failed: %s", error.reason)
            exchange.send(channel.pending(), packets.PRELOGIN)
            raise Dropped from None
        exchange.send(answer, packets.PRELOGIN)
    exchange.connection.tls = channel
    exchange.state.stats.tls_handshakes += 1

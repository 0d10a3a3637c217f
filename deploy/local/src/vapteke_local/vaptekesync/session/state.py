"""What all sessions of one server share: the account, the database, the faults and the counters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vapteke_local.vaptekesync.protocol.encryption import Encryption
from vapteke_local.vaptekesync.protocol.login import Account
from vapteke_local.vaptekesync.session.faults import Faults
from vapteke_local.vaptekesync.sql.database import Database


@dataclass
class Stats:
    connections_open: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    tls_handshakes: int = 0
    logins_received: int = 0
    logins_refused: int = 0
    attentions: int = 0
    rows_sent: int = 0
    statements: Counter[str] = field(default_factory=Counter)


@dataclass
class ServerState:
    account: Account
    database: Database
    encryption: Encryption | None = None
    faults: Faults = field(default_factory=Faults)
    stats: Stats = field(default_factory=Stats)

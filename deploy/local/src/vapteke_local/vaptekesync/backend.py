"""What the sessions of one server share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vapteke_local.vaptekesync.encryption import Encryption
from vapteke_local.vaptekesync.faults import Faults
from vapteke_local.vaptekesync.login import Account
from vapteke_local.vaptekesync.statements import Database


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
class Backend:
    account: Account
    database: Database
    encryption: Encryption | None = None
    faults: Faults = field(default_factory=Faults)
    stats: Stats = field(default_factory=Stats)

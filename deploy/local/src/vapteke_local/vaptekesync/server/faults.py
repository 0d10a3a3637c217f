"""Faults on command: what goes wrong, where, how often."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from vapteke_local.vaptekesync.protocol.token_stream import SqlError

FaultKind = Literal["refuse", "delay", "drop", "silent", "fail"]
Place = Literal["connection", "login", "message", "statement"]
_WHOLE = {"times", "nth", "rows", "number", "severity", "state"}


@dataclass
class Fault:
    """One fault. It strikes from the `nth` opportunity on (counted since it was set), `times` times.

    refuse: new connections are closed at their first byte.
    delay:  `seconds` pass before each answer to a listed statement, or with `before="login"` before the login's.
    drop:   the connection is lost in the middle of the answer, after `rows` rows of it.
    silent: with `rows` or `statement`: the answer stops after `rows` rows and nothing follows on that connection.
            Without: connections are accepted and read, and whatever is sent on them stays unanswered for ever.
    fail:   error `number` with `text` instead of the answer; after `rows` rows of it when given, or with
            `before="login"` instead of letting the client in.

    `statement` limits delay, drop, silent and fail to one name of the list in `statements`; drop, and silent with
    `rows`, are about `range` unless told otherwise. `times` None is without end; drop, fail and silent in mid-answer
    strike once by default. Faults overlook what drivers send by themselves (SET and the like), but for a full silence.
    """

    kind: FaultKind
    times: int | None = None
    nth: int = 1
    statement: str | None = None
    rows: int | None = None
    seconds: float = 0.0
    before: Literal["answer", "login"] = "answer"
    number: int = 50000
    text: str = "A fault that the stand-in was told to show."
    severity: int = 16
    state: int = 1

    @property
    def error(self) -> SqlError:
        """What `fail` sends."""
        return SqlError(self.number, self.text, self.severity, self.state)

    @property
    def place(self) -> Place:
        if self.kind == "refuse":
            return "connection"
        if self.kind in ("delay", "fail") and self.before == "login":
            return "login"
        if self.kind == "silent" and self.rows is None and self.statement is None:
            return "message"
        return "statement"


class Faults:
    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def set(self, kind: FaultKind, **options: Any) -> Fault:
        """Adds a fault with the options of Fault; ValueError for what there is not, or is no number."""
        known = {field.name for field in fields(Fault)} - {"kind"}
        if kind not in get_args(FaultKind):
            raise ValueError(f"no such fault: {kind}; there are {', '.join(get_args(FaultKind))}")
        if unknown := options.keys() - known:
            raise ValueError(
                f"no such option of a fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        if wrong := [name for name in _WHOLE & options.keys() if not isinstance(options[name], int | None)]:
            raise ValueError(f"option {min(wrong)} of a fault: expected a whole number")
        fault = _with_defaults(Fault(kind, **options), options)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        self._faults.clear()

    def take(self, place: Place, statement: str | None = None) -> list[Fault]:
        """The faults that strike here and now; each is counted."""
        struck = [f for f in self._faults if f.place == place and f.statement in (None, statement) and _is_due(f)]
        self._faults = [fault for fault in self._faults if fault.times != 0]
        return struck


def _with_defaults(fault: Fault, options: dict[str, Any]) -> Fault:
    in_mid_answer = fault.kind == "drop" or (fault.kind == "silent" and fault.rows is not None)
    if in_mid_answer and "statement" not in options:
        fault.statement = "range"
    strikes_once = fault.kind in ("drop", "fail") or (fault.kind == "silent" and fault.place == "statement")
    if strikes_once and "times" not in options:
        fault.times = 1
    return fault


def _is_due(fault: Fault) -> bool:
    if fault.nth > 1:
        fault.nth -= 1
        return False
    if fault.times is not None:
        fault.times -= 1
    return True

"""Faults on command: what goes wrong, on which occasion, how often."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from vapteke_local.vaptekesync.protocol.token_stream import SqlError

FaultKind = Literal["refuse", "delay", "drop", "silent", "fail"]
Occasion = Literal["connection", "login", "message", "statement"]
_LEAST = {"times": 1, "nth": 1, "rows": 0, "number": 0, "severity": 0, "state": 0, "seconds": 0}
"""Option that is a number → its smallest value. Only `seconds` may have decimals."""


@dataclass
class Fault:
    """An injected fault. It strikes `times` times, from the `nth` opportunity since it was set.

    refuse: new connections are closed at their first byte.
    delay:  the server waits `seconds` before each answer to a listed statement, or with `before="login"` before the
            answer to a login.
    drop:   the connection breaks after `rows` rows of an answer; if `rows` is None, before the answer.
    silent: without `rows` and `statement`, the server is silent: connections are accepted and read, never answered.
            With one of them, one answer stops after `rows` rows (if `rows` is None, before it begins), and nothing
            follows on that connection.
    fail:   error `number` with `text` replaces the answer, or follows `rows` rows of the answer; with `before="login"`
            the error rejects the login.

    `statement` limits delay, drop, silent and fail to one name in the list of `sql/statements.py`; with it, refuse and
    `before="login"` never strike. By default drop, and silent with `rows`, apply to `range`. `times` None means without
    end, which is the default of refuse, delay and the silent server. All others strike once by default. Only the silent
    server leaves unanswered what drivers send on their own (SET and the like).
    """

    kind: FaultKind
    times: int | None = None
    nth: int = 1
    statement: str | None = None
    rows: int | None = None
    seconds: float = 0.0
    before: Literal["answer", "login"] = "answer"
    number: int = 50000
    text: str = "A fault set in the stand-in."
    severity: int = 16
    state: int = 1

    @property
    def error(self) -> SqlError:
        """What `fail` sends."""
        return SqlError(self.number, self.text, self.severity, self.state)

    @property
    def occasion(self) -> Occasion:
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
        """Adds a fault and returns it. `options` are the other fields of Fault.

        Raises ValueError for an unknown kind or option, or an invalid number. `statement` and `before` are not checked:
        a fault with a statement that does not fit never strikes.
        """
        known = {field.name for field in fields(Fault)} - {"kind"}
        if kind not in get_args(FaultKind):
            raise ValueError(f"no such fault: {kind}; there are {', '.join(get_args(FaultKind))}")
        if unknown := options.keys() - known:
            raise ValueError(
                f"no such option of a fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
            )
        for name in sorted(_LEAST.keys() & options.keys()):
            _check_number(name, options[name])
        fault = _with_defaults(Fault(kind, **options), options)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        self._faults.clear()

    def take(self, occasion: Occasion, statement: str | None = None) -> list[Fault]:
        """The faults that strike on this occasion, in the order in which they were set.

        Call it once for each opportunity, because a fault that strikes uses up one of its `times`, and any other fault
        of this occasion counts down to its `nth` opportunity.
        """
        struck = [f for f in self._faults if f.occasion == occasion and f.statement in (None, statement) and _is_due(f)]
        self._faults = [fault for fault in self._faults if fault.times != 0]
        return struck


def _check_number(name: str, value: Any) -> None:
    if value is None and name in ("times", "rows"):
        return
    kind = int | float if name == "seconds" else int
    if not (isinstance(value, kind) and value >= _LEAST[name]):
        raise ValueError(
            f"option {name} of a fault: expected a {'' if name == 'seconds' else 'whole '}number from {_LEAST[name]} up"
        )


def _with_defaults(fault: Fault, options: dict[str, Any]) -> Fault:
    in_mid_answer = fault.kind == "drop" or (fault.kind == "silent" and fault.rows is not None)
    if in_mid_answer and "statement" not in options:
        fault.statement = "range"
    strikes_once = fault.kind in ("drop", "fail") or (fault.kind == "silent" and fault.occasion == "statement")
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

"""What the doctor finds: one line for each check."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """UNKNOWN: the check could not be made, so it says neither that something is wrong nor that it is not."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """The result of a check. The text says what was found and how to fix it. It has no values of rows."""

    status: Status
    text: str


class Finding(NamedTuple):
    """The verdict of the check with this name, and the seconds that the check took."""

    check: str
    status: Status
    text: str
    seconds: float


def ok(text: str) -> Verdict:
    return Verdict(Status.OK, text)


def warning(text: object) -> Verdict:
    return Verdict(Status.WARNING, str(text))


def failure(text: object) -> Verdict:
    return Verdict(Status.FAILURE, str(text))


def unknown(text: object) -> Verdict:
    return Verdict(Status.UNKNOWN, str(text))


def exit_code(findings: Sequence[Finding]) -> int:
    """0: all is ok. 1: something has failed. 2: nothing has failed, but there is a warning or an unknown."""
    found = {finding.status for finding in findings}
    return 1 if Status.FAILURE in found else 2 if found - {Status.OK} else 0


def line(finding: Finding) -> str:
    return f"{finding.status:<8} {finding.check:<12} {finding.text}"


def to_json(findings: Sequence[Finding]) -> str:
    """A list of objects with the fields of Finding."""
    shown = [finding._asdict() | {"seconds": round(finding.seconds, 3)} for finding in findings]
    return json.dumps(shown, ensure_ascii=False, indent=1)

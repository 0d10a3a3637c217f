"""What can be wrong with vAptekeSync, in words for operators."""

import re

import pyodbc

from legacy_importer.settings import LegacySettings

_LOGIN_REFUSED, _NO_DATABASE = 18456, 4060
_UNFIT = {207: "a column is missing", 208: "the table is missing", 229: "reading it is not permitted"}


class LegacyError(Exception):
    """What went wrong with vAptekeSync, in words for operators."""


class LegacyUnavailable(LegacyError):
    """It does not answer, or not now: a further attempt may succeed."""


class LegacyUnfit(LegacyError):
    """Login, table or columns are not as the settings say: no attempt will succeed."""


def address(settings: LegacySettings) -> str:
    return f"vAptekeSync at {settings.vaptekesync_host}:{settings.vaptekesync_port}"


def understood(error: pyodbc.Error, settings: LegacySettings) -> LegacyError:
    """The driver's error in words that say what to do; its own text may hold values and is left out."""
    state, text = (str(part) for part in (*error.args, "", "")[:2])
    numbers = {int(number) for number in re.findall(r"\((\d+)\)", text)}
    where = address(settings)
    if _NO_DATABASE in numbers:
        return LegacyUnfit(f"{where} has no database {settings.vaptekesync_db} for this user (VAPTEKESYNC_DB)")
    if _LOGIN_REFUSED in numbers or state == "28000":
        return LegacyUnfit(
            f"{where} refused the login: check VAPTEKESYNC_USER, VAPTEKESYNC_PASSWORD and VAPTEKESYNC_DB"
        )
    if state in ("01000", "IM002", "IM003") and "[Driver Manager]" in text:
        return LegacyUnfit(f"the ODBC driver cannot be loaded (VAPTEKESYNC_DRIVER, {state})")
    for number in numbers & _UNFIT.keys():
        return LegacyUnfit(f"{where}: {_UNFIT[number]} (error {number})")
    return LegacyUnavailable(f"{where} cannot be reached or broke off (SQLSTATE {state}{_listed(numbers)})")


def _listed(numbers: set[int]) -> str:
    real = sorted(numbers - {0})
    return f", error {', '.join(map(str, real))}" if real else ""

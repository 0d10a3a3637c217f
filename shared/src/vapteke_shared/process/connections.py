"""Why a connection cannot be made: the server, the address and the variable to check."""

import os
import ssl

_OTHER_NAME = (62, 64)  # OpenSSL's numbers for a certificate of another host or address


class Unavailable(OSError):
    """It does not answer, or not now, in words for operators: a further attempt may succeed."""


class Unfit(Unavailable):
    """Certificate, login or protocol are not as the settings say: no attempt will succeed."""


def told(error: BaseException, prefix: str = "") -> str:
    """The error; where its text may hold values, its name after the prefix."""
    if isinstance(error, Unavailable):
        return str(error)
    state = getattr(error, "sqlstate", None)
    name = f"{type(error).__name__} ({state})" if state else type(error).__name__
    return f"{prefix}: {name}" if prefix else name


def untrusted(where: str, error: ssl.SSLCertVerificationError, authority: str, host: str) -> Unfit:
    is_other = error.verify_code in _OTHER_NAME
    what = "is for another name" if is_other else "is not trusted"
    reason = error.verify_message.rstrip(".")
    return Unfit(f"{where}: its certificate {what} ({reason}): check {host if is_other else authority}")


def why_away(error: OSError) -> str | None:
    """Why it is out of reach; None: it was reached."""
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return None
    if isinstance(error, ConnectionError) and error.errno is None:  # asyncpg's and asyncio's own, when it hangs up
        return None
    known = error.errno is not None and error.errno > 0  # a name that is not found has a number of its own
    return f"cannot be reached ({os.strerror(error.errno or 0) if known else error.strerror or error})"

"""Errors for servers that cannot be used. The text of an error names the server and what an operator should check."""

import os
import ssl

_OTHER_NAME = (62, 64)  # OpenSSL's numbers for a certificate of another host or address


class Unavailable(OSError):
    """A server does not answer or cannot be used now. The text is for operators.

    A later attempt may succeed, unless the error is a Misconfigured.
    """


class Misconfigured(Unavailable):
    """A server's certificate, login, protocol or configuration does not match our settings.

    No further attempt can succeed until an operator changes the server or the settings. `except Unavailable` also
    catches this error.
    """


def describe(error: BaseException, prefix: str = "") -> str:
    """A text about the error for logs and the health, without personal data.

    An Unavailable has its own text. Any other error's text may contain personal data, so the result is `prefix`, the
    error's type and the SQLSTATE, such as `Postgres: DeadlockDetectedError (40P01)`. An empty prefix and a missing
    SQLSTATE are left out.
    """
    if isinstance(error, Unavailable):
        return str(error)
    state = getattr(error, "sqlstate", None)
    name = f"{type(error).__name__} ({state})" if state else type(error).__name__
    return f"{prefix}: {name}" if prefix else name


def untrusted_certificate(where: str, error: ssl.SSLCertVerificationError, authority: str, host: str) -> Misconfigured:
    is_other = error.verify_code in _OTHER_NAME
    what = "is for another name" if is_other else "is not trusted"
    reason = error.verify_message.rstrip(".")
    return Misconfigured(f"{where}: its certificate {what} ({reason}): check {host if is_other else authority}")


def unreachable_reason(error: OSError) -> str | None:
    """Why a server could not be reached, such as `does not answer`, from the error of an attempt to connect.

    None when the server was reached, and then closed the connection or failed the TLS handshake.
    """
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return None
    if isinstance(error, ConnectionError) and error.errno is None:  # raised when the server closes the connection
        return None
    known = error.errno is not None and error.errno > 0  # a host name that is not found has another kind of number
    return f"cannot be reached ({os.strerror(error.errno or 0) if known else error.strerror or error})"

"""Errors for connections that fail. Their texts name the server, the address and the variable to check."""

import os
import ssl

_OTHER_NAME = (62, 64)  # OpenSSL's numbers for a certificate of another host or address


class Unavailable(OSError):
    """A server does not answer or cannot be used now. The text is for operators; a later attempt may succeed."""


class Misconfigured(Unavailable):
    """Certificate, login or protocol do not match the settings, so no further attempt can succeed."""


def describe(error: BaseException, prefix: str = "") -> str:
    """The error in words. An error whose text may contain values is described by its type, after the prefix."""
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
    """Why the server cannot be reached; None when it was reached."""
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return None
    if isinstance(error, ConnectionError) and error.errno is None:  # raised when the server closes the connection
        return None
    known = error.errno is not None and error.errno > 0  # a host name that is not found has another kind of number
    return f"cannot be reached ({os.strerror(error.errno or 0) if known else error.strerror or error})"

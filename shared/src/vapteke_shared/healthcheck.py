"""`python -m vapteke_shared.healthcheck`: asks /health/ready whether the process of a container is ready.

The command exits with 0 when the process is ready, and otherwise with 1 and the reason on standard error. This module
imports only the standard library and one small module, because a container starts the command every few seconds.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

from vapteke_shared.process import addresses

_SECONDS = 4


def main() -> None:
    try:
        status, text = _asked(int(os.environ.get("METRICS_PORT", "9100")))
    except (OSError, HTTPException, ValueError) as error:
        status, text = 0, f"{type(error).__name__}: {error}"
    if status != 200:
        sys.exit(" ".join(text.split()))


def _asked(port: int) -> tuple[int, str]:
    connection = HTTPConnection(_host(os.environ.get("METRICS_HOST")), port, timeout=_SECONDS)
    connection.request("GET", "/health/ready")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def _host(listened_on: str | None) -> str:
    """The host to connect to when the process listens on `listened_on`, without brackets.

    The host is a loopback address when `listened_on` is None or means all addresses.
    """
    host = addresses.bare((listened_on or "127.0.0.1").strip())
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


if __name__ == "__main__":
    main()

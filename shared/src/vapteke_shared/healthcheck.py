"""`python -m vapteke_shared.healthcheck`: is the process of this container ready? Exit code 0, or 1 with the reason.

Nothing but the standard library: it is started every few seconds.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

_SECONDS = 4


def main() -> None:
    try:
        status, text = _asked(int(os.environ.get("METRICS_PORT", "9100")))
    except (OSError, HTTPException, ValueError) as error:
        status, text = 0, f"{type(error).__name__}: {error}"
    if status != 200:
        sys.exit(" ".join(text.split()))


def _asked(port: int) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    connection.request("GET", "/health/ready")
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


if __name__ == "__main__":
    main()

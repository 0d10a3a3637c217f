"""The client of the control port."""

from __future__ import annotations

import json
import socket
from typing import Any

Command = dict[str, Any]


def control(host: str, port: int, command: Command, timeout: float = 10.0) -> Command:
    """Sends one command and returns the answer. If the command failed, `ok` in the answer is False.

    Raises OSError if the control port cannot be reached or does not answer within `timeout` seconds.
    """
    with socket.create_connection((host, port), timeout) as connection, connection.makefile("rwb") as lines:
        lines.write(json.dumps(command, default=str).encode() + b"\n")
        lines.flush()
        answer = lines.readline()
    if not answer:
        raise ConnectionError("the stand-in closed the connection without an answer")
    answered: Command = json.loads(answer)
    return answered

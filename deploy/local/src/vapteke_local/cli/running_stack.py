"""Finds the running stack: reads the file in which the stack describes itself.

Without that file, the command ends with an error text and exit code 1.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vapteke_local.cli.terminal import give_up

Running = Annotated[
    Path | None, typer.Option("--ready", help="The file that describes the stack; default: that of the running stack.")
]


def read(file: Path) -> dict[str, Any]:
    if not file.exists():
        give_up(f"no stack is described in {file}: is `vapteke up` running?")
    stack: dict[str, Any] = json.loads(file.read_text())
    return stack

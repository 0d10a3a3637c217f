"""`vapteke legacy`: commands that change rows of the running stand-in for vAptekeSync, or make it misbehave."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from vapteke_local.cli import running_stack
from vapteke_local.cli.running_stack import Running
from vapteke_local.cli.terminal import give_up, say
from vapteke_local.stack import description
from vapteke_local.vaptekesync import control

app = typer.Typer(help="Change the stand-in for vAptekeSync while it runs.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="ID")]
Values = Annotated[list[str], typer.Argument(metavar="COLUMN=VALUE…", help="NULL for null, dates in ISO 8601.")]


@app.command("set")
def set_row(legacy_id: Id, values: Values, ready: Running = None) -> None:
    """Change columns of a row: `vapteke legacy set 5 Phone=79161234567`."""
    _command(ready, {"do": "set", "id": legacy_id, "values": _pairs(values)}, f"row {legacy_id} is changed")


@app.command("add")
def add_row(values: Values, ready: Running = None) -> None:
    """Add a row: `vapteke legacy add ID=2000000000 Phone=79161234567`."""
    _command(ready, {"do": "add", "values": _pairs(values)}, "the row is added")


@app.command("remove")
def remove_row(legacy_id: Id, ready: Running = None) -> None:
    """Remove a row."""
    _command(ready, {"do": "remove", "id": legacy_id}, f"row {legacy_id} is removed")


@app.command("fault")
def fault(
    kind: Annotated[str, typer.Argument(help="refuse, delay, drop, silent or fail.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION=VALUE…]", help="For example times=2 rows=500.")
    ] = None,
    ready: Running = None,
) -> None:
    """Make the server misbehave: `vapteke legacy fault drop rows=500 times=2`.

    refuse: close every new connection.

    delay seconds=60: wait before each answer, or with before=login before the answer to a login.

    drop rows=500: break the connection after 500 rows of an answer.

    silent: answer nothing from now on; with rows=500, stop the answer after 500 rows.

    fail number=18456 before=login: reject the login with this SQL Server error; without `before`, answer a
    statement with it.

    Every kind takes times=2 (how often; default: once for drop, fail, and silent with rows or statement, else
    without end) and nth=3 (begin at the third opportunity). `vapteke legacy clear` ends all faults.
    """
    numbers = {name: _number(value) for name, value in _pairs(options or []).items()}
    _command(ready, {"do": "fault", "kind": kind, **numbers}, f"the fault {kind} is set")


@app.command("clear")
def clear(ready: Running = None) -> None:
    """End all faults."""
    _command(ready, {"do": "clear"}, "all faults are ended")


def _command(ready: Path | None, command: dict[str, Any], done: str) -> None:
    file = ready or description.run_file()
    server = running_stack.read(file)["vaptekesync"]
    if server["control_port"] is None:
        give_up("this stack reads an external vAptekeSync, which cannot be changed from here")
    try:
        answer = control(server["host"], server["control_port"], command)
    except OSError as error:
        give_up(f"the stack described in {file} does not answer: {error}")
    if not answer["ok"]:
        give_up(answer["error"])
    say(done)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise typer.BadParameter(f"{wrong[0]}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text

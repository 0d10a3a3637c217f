"""`vapteke`: the whole stack on this machine, without Docker."""

import asyncio
import contextlib
import json
import logging
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from vapteke_local import demo as demonstration
from vapteke_local import processes, services, stack, tokens
from vapteke_local.pieces import Piece
from vapteke_local.processes import StackFailure
from vapteke_local.stack import Options, Stack
from vapteke_local.vaptekesync import control

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
legacy = typer.Typer(help="Change the stand-in for vAptekeSync while it runs.", no_args_is_help=True)
app.add_typer(legacy, name="legacy")
console = Console()
errors = Console(stderr=True)

Customers = Annotated[int, typer.Option(min=0, help="Rows of the stand-in for vAptekeSync.")]
Seed = Annotated[int, typer.Option(help="The same seed and count make the same people.")]
External = Annotated[
    list[Piece] | None, typer.Option(help="Take this piece from the services' own variables instead of starting it.")
]
Data = Annotated[
    Path | None, typer.Option(file_okay=False, help="Keep the state here; default: a new folder, removed at the end.")
]
Ready = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Where the stack describes itself once everything answers.")
]
Count = Annotated[int, typer.Option(min=1)]
BrokerCount = Annotated[int, typer.Option(min=1, max=5)]
Tls = Annotated[
    bool, typer.Option("--tls", help="Kafka with SASL_SSL and Postgres with TLS, with a state of their own.")
]


@app.command()
def up(
    customers: Customers = 78_553,
    seed: Seed = 1,
    ready: Ready = None,
    external: External = None,
    data: Data = None,
    brokers: BrokerCount = 1,
    importers: Count = 1,
    consumers: Count = 1,
    tls: Tls = False,
) -> None:
    """Start everything and keep it running until Ctrl-C or SIGTERM."""
    options = Options(
        customers=customers,
        seed=seed,
        external=frozenset(external or ()),
        data=data,
        ready=ready or stack.run_file(),
        brokers=brokers,
        importers=importers,
        consumers=consumers,
        tls=tls,
    )
    raise typer.Exit(_run(lambda: _up(options), when_stopped=0))


@app.command()
def demo(customers: Customers = 78_553, seed: Seed = 1, tls: Tls = False) -> None:
    """Import all customers as the frontend would, and compare the result with what it must be."""
    options = Options(customers=customers, seed=seed, tls=tls)
    raise typer.Exit(_run(lambda: demonstration.run(options, console), when_stopped=130))


async def _up(options: Options) -> int:
    async with stack.serve(options, _say) as running:
        console.print(_addresses(running))
        _say(f"Postgres, as superuser: {running.postgres}")
        _say(
            f"`{sys.argv[0]} token --scope all` prints a token for the services, `{sys.argv[0]} env` what a shell needs"
        )
        _say(f"logs, the audit's lines among them: {running.logs}")
        _say(f"described in {options.ready}; Ctrl-C stops it")
        await asyncio.Event().wait()
    return 0


def _addresses(running: Stack) -> Table:
    table = Table("what", "where", "metrics", "pid", title="The stack runs", title_justify="left")
    where = {
        "customers-api serve": running.customers_api,
        "favorites-api serve": running.favorites_api,
        "vaptekesync": f"{running.vaptekesync.host}:{running.vaptekesync.port}",
        **{f"kafka {number}": address for number, address in enumerate(running.kafka, start=1)},
    }
    for name, pid in sorted(running.processes.items()):
        table.add_row(name, where.get(name, ""), _of_this_host(running.metrics.get(name, "")), str(pid))
    return table


def _of_this_host(url: str) -> str:
    """A whole URL more would be too wide for a terminal of 80 columns."""
    return url.removeprefix(f"http://{services.HOST}")


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _run(main: Callable[[], Coroutine[Any, Any, int]], *, when_stopped: int) -> int:
    """The exit code; `when_stopped` is the one after Ctrl-C or SIGTERM."""
    processes.end_with_make()
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # while the brokers start it complains of each attempt
    try:
        return asyncio.run(_until_signalled(main))
    except StackFailure as failure:
        errors.print(str(failure), markup=False, highlight=False, soft_wrap=True)
        return 1
    except asyncio.CancelledError:
        return when_stopped


async def _until_signalled(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    task = asyncio.create_task(main())

    def stop() -> None:
        if not task.cancelling():  # a second cancellation would hit the clean-up
            _say("stopping")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return await task


Running = Annotated[Path | None, typer.Option("--ready", help="The stack's description; default: the running one's.")]
Values = Annotated[list[str], typer.Argument(metavar="COLUMN=VALUE…", help="NULL for null, dates in ISO 8601.")]


@app.command()
def token(
    scope: Annotated[list[str] | None, typer.Option(help=tokens.SCOPE_HELP)] = None,
    audience: Annotated[
        list[str] | None,
        typer.Option(help=f"Which service takes it, repeatable: {', '.join(tokens.AUDIENCES)}. Default: each."),
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it holds: seconds, or such as 15m, 12h, 30d.")] = "12h",
    subject: Annotated[str, typer.Option(help="Who asks, for the audit log.")] = "developer",
    ready: Running = None,
) -> None:
    """Print a bearer token, made with SECRET_KEY or, without it or with --ready, with the stack's."""
    given = None if ready else tokens.key_from_environment()
    secret_key = given or _description(ready or stack.run_file())["secret_key"]
    try:
        made = tokens.issue(secret_key, subject, scope or (), tokens.duration(ttl), audience or tokens.AUDIENCES)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except StackFailure as failure:
        _give_up(str(failure))
    if not scope:
        sys.stderr.write(f"{tokens.NO_SCOPE}\n")
    sys.stdout.write(f"{made}\n")


@app.command()
def env(ready: Running = None) -> None:
    """Print what a shell needs to talk to the running stack: `eval "$(vapteke env)"`."""
    running = _description(ready or stack.run_file())
    variables = {
        "CUSTOMERS_API": running["customers_api"],
        "FAVORITES_API": running["favorites_api"],
        "AUTH": f"Authorization: Bearer {running['token']}",
    }
    sys.stdout.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))


@legacy.command("set")
def set_row(legacy_id: Annotated[int, typer.Argument(metavar="ID")], values: Values, ready: Running = None) -> None:
    """Change columns of a row: `vapteke legacy set 5 Phone=79161234567`."""
    _command(ready, {"do": "set", "id": legacy_id, "values": _pairs(values)}, f"row {legacy_id} is changed")


@legacy.command("add")
def add_row(values: Values, ready: Running = None) -> None:
    """Add a row: `vapteke legacy add ID=2000000000 Phone=79161234567`."""
    _command(ready, {"do": "add", "values": _pairs(values)}, "the row is added")


@legacy.command("remove")
def remove_row(legacy_id: Annotated[int, typer.Argument(metavar="ID")], ready: Running = None) -> None:
    """Remove a row."""
    _command(ready, {"do": "remove", "id": legacy_id}, f"row {legacy_id} is removed")


@legacy.command("fault")
def fault(
    kind: Annotated[str, typer.Argument(help="refuse, delay, drop, silent or fail.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION=VALUE…]", help="Such as times=2 rows=500.")
    ] = None,
    ready: Running = None,
) -> None:
    """Make the server misbehave: `vapteke legacy fault drop rows=500 times=2`.

    refuse: new connections are closed.

    delay seconds=60: before each answer; before=login: before the login's.

    drop rows=500: the connection breaks off in the middle of an answer.

    silent: nothing is answered any more; rows=500: the answer stops after so many rows.

    fail number=18456 before=login: this error of SQL Server's instead of the login; else instead of an answer.

    Each kind takes times=2 (how often; without end but for drop, fail, and silent with rows: once) and nth=3 (from
    the third opportunity on). `vapteke legacy clear` ends all faults.
    """
    numbers = {name: _number(value) for name, value in _pairs(options or []).items()}
    _command(ready, {"do": "fault", "kind": kind, **numbers}, f"the fault {kind} is set")


@legacy.command("clear")
def clear(ready: Running = None) -> None:
    """End all faults."""
    _command(ready, {"do": "clear"}, "all faults are ended")


def _command(ready: Path | None, command: dict[str, Any], done: str) -> None:
    file = ready or stack.run_file()
    server = _description(file)["vaptekesync"]
    if server["control_port"] is None:
        _give_up("this stack reads a vAptekeSync from elsewhere: it is not ours to change")
    try:
        answer = control(server["host"], server["control_port"], command)
    except OSError as error:
        _give_up(f"the stack described in {file} does not answer: {error}")
    if not answer["ok"]:
        _give_up(answer["error"])
    _say(done)


def _description(file: Path) -> dict[str, Any]:
    if not file.exists():
        _give_up(f"no stack is described in {file}: is `vapteke up` running?")
    description: dict[str, Any] = json.loads(file.read_text())
    return description


def _give_up(text: str) -> NoReturn:
    errors.print(text, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


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

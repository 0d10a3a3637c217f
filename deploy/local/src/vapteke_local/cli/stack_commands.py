"""`vapteke up` and `vapteke demo`: the commands that start a stack."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from vapteke_local.cli import terminal
from vapteke_local.cli.terminal import console, say
from vapteke_local.demo import run as demonstration
from vapteke_local.stack import description, services, start
from vapteke_local.stack.dependencies import Dependency
from vapteke_local.stack.description import Stack
from vapteke_local.stack.start import Options

Customers = Annotated[int, typer.Option(min=0, help="Rows of the stand-in for vAptekeSync.")]
Seed = Annotated[int, typer.Option(help="The same seed and count always make the same people.")]
External = Annotated[
    list[Dependency] | None,
    typer.Option(help="Do not start this server: use the one that the services' own variables name."),
]
Data = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Keep the state in this folder; default: a new folder, removed at the end."),
]
Ready = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Describe the stack in this file once everything answers.")
]
Count = Annotated[int, typer.Option(min=1, help="Number of processes.")]
BrokerCount = Annotated[int, typer.Option(min=1, max=5, help="Number of Kafka brokers.")]
Tls = Annotated[
    bool, typer.Option("--tls", help="Kafka with SASL_SSL and Postgres with TLS, with a state of their own.")
]


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
    """Start the whole stack and keep it running until Ctrl-C or SIGTERM."""
    options = Options(
        customers=customers,
        seed=seed,
        external=frozenset(external or ()),
        data=data,
        ready=ready or description.run_file(),
        brokers=brokers,
        importers=importers,
        consumers=consumers,
        tls=tls,
    )
    raise typer.Exit(terminal.run(lambda: _up(options), when_stopped=0))


def demo(customers: Customers = 78_553, seed: Seed = 1, tls: Tls = False) -> None:
    """Start a stack, import all customers twice as the frontend would, check the results, and stop the stack."""
    options = Options(customers=customers, seed=seed, tls=tls)
    raise typer.Exit(terminal.run(lambda: demonstration.run(options, console), when_stopped=130))


async def _up(options: Options) -> int:
    async with start.serve(options, say) as stack:
        console.print(_addresses(stack))
        say(f"Postgres, as superuser: {stack.postgres}")
        say(
            f"`{sys.argv[0]} token --scope all` prints a token for the services,"
            f" `{sys.argv[0]} env` the variables for a shell"
        )
        say(f"logs, including the audit: {stack.logs}")
        say(f"described in {options.ready}; Ctrl-C stops it")
        await asyncio.Event().wait()
    return 0


def _addresses(stack: Stack) -> Table:
    table = Table("what", "where", "metrics", "pid", title="The stack runs", title_justify="left")
    where = {
        "customers-api serve": stack.customers_api,
        "favorites-api serve": stack.favorites_api,
        "vaptekesync": f"{stack.vaptekesync.host}:{stack.vaptekesync.port}",
        **{f"kafka {number}": address for number, address in enumerate(stack.kafka, start=1)},
    }
    for name, pid in sorted(stack.processes.items()):
        table.add_row(name, where.get(name, ""), _without_host(stack.metrics.get(name, "")), str(pid))
    return table


def _without_host(url: str) -> str:
    """The URL from `:port` on: two whole URLs in a row would be too wide for a terminal of 80 columns."""
    return url.removeprefix(f"http://{services.HOST}")

"""The command `customers-api import`: starts an import, and with --wait watches it until it has ended.

Needs Postgres alone: the request waits in the outbox while Kafka is away. Exit codes: docs/operate.md, "From the
command line".
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Any, NamedTuple, NoReturn
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from typer.core import TyperCommand
from vapteke_shared.contract.limits import INT64_MAX, INT64_MIN, ROWS_PER_TASK
from vapteke_shared.postgres import pools
from vapteke_shared.postgres.outages import raise_unless_outage
from vapteke_shared.process import connection_errors, logs
from vapteke_shared.process.cancellation import reraise_cancellation
from vapteke_shared.process.connection_errors import Misconfigured
from vapteke_shared.process.settings import load

from customers_api.imports import display, jobs, queries, row_imports, writes
from customers_api.imports.fields import ImportKind
from customers_api.imports.response_models import Import
from customers_api.schema import SCHEMA
from customers_api.settings import ImportSettings

_REQUESTED_BY = "command line"
_POLL_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_OUTAGE_SECONDS = 60.0  # a failover takes less
_WAIT_HELP = (
    "Show the progress until the import has ended, and then its verdict. Exit code: 0 completed, 2 completed with "
    "warnings, 1 failed or cancelled, 3 unknown, because Postgres cannot be used or a setting or an option is wrong."
)
_KIND_HELP = (
    "full: all rows; changes: only what has changed; compare: only list differences; rows: only the rows that another "
    "option names."
)
_AGAIN = "run the same command again: it starts an import, or joins the running one"


class Ids(NamedTuple):
    """The rows that an import of kind `rows` reads: those with these keys, or those of these customers."""

    legacy: Sequence[int] = ()
    of_customers: Sequence[int] = ()


class Code(IntEnum):
    """How the command ends."""

    COMPLETED = 0
    NOT_COMPLETED = 1
    WARNINGS = 2
    UNKNOWN = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class ImportCommand(TyperCommand):
    """Ends with UNKNOWN if an option is wrong. Typer would end with 2, which means WARNINGS here."""

    def parse_args(self, *given: Any) -> list[str]:
        try:
            return super().parse_args(*given)
        except typer.TyperException as error:
            error.exit_code = Code.UNKNOWN
            raise


class ImportMissing(Exception):
    """The import is no longer in the database."""


def run(
    kind: Annotated[ImportKind, typer.Option(help=_KIND_HELP)] = "full",
    legacy_ids: Annotated[
        str | None, typer.Option(help="With --kind rows: the keys of up to 100 rows in vAptekeSync: 3049,3050.")
    ] = None,
    customer_ids: Annotated[
        str | None, typer.Option(help="With --kind rows: the ids of up to 100 customers: 14722,14738.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help=_WAIT_HELP)] = False,
) -> None:
    """Start an import, or join the running one of this kind, and print its id. Ctrl-C does not end the import.

    Safe to repeat. Only imports of kind rows join none: each call starts another one, beside whatever import runs.
    """
    ids = _ids(kind, legacy_ids, customer_ids)
    try:
        settings = load(ImportSettings)
    except SystemExit as error:
        _give_up(str(error))
    logs.configure("ERROR")
    try:
        code = asyncio.run(_start_and_wait(settings, kind, ids, wait))
    except asyncio.CancelledError:
        typer.echo("interrupted; the import goes on: `customers-api import --wait` joins it while it runs", err=True)
        code = Code.INTERRUPTED
    raise typer.Exit(code)


def _ids(kind: ImportKind, legacy_ids: str | None, customer_ids: str | None) -> Ids:
    """Read the options that name rows. Ends the command if they do not fit the kind or each other."""
    named = [text for text in (legacy_ids, customer_ids) if text is not None]
    if len(named) != (kind == "rows"):
        _give_up("give --kind rows together with either --legacy-ids or --customer-ids")
    if not named:
        return Ids()
    try:
        ids = list(dict.fromkeys(map(int, named[0].split(","))))
    except ValueError:
        _give_up("write the ids as whole numbers with commas between them: 3049,3050")
    if len(ids) > ROWS_PER_TASK or not all(INT64_MIN <= each <= INT64_MAX for each in ids):
        _give_up(f"give at most {ROWS_PER_TASK} ids, each a number of 64 bits")
    return Ids(ids) if legacy_ids is not None else Ids(of_customers=ids)


async def _start_and_wait(settings: ImportSettings, kind: ImportKind, ids: Ids, wait: bool) -> Code:
    made = pools.create_pool(settings, SCHEMA, 1, reset=pools.no_reset, command_timeout=_ANSWER_SECONDS)
    try:
        async with pools.closing(made, asyncio.Event()) as pool:
            _cancel_when_signalled(pool)
            import_id = await _start(pool, settings.import_range_rows, kind, ids)
            if wait:
                return await _watch(pool, import_id)
            command = "" if kind == "rows" else "`customers-api import --wait`, or "
            typer.echo(f"watch it: {command}GET {jobs.url(import_id)}", err=True)
            return Code.COMPLETED
    except BrokenPipeError:
        _end_quietly()
    except ImportMissing:
        _give_up(f"the import is no longer in the database; {_AGAIN}")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        _give_up(f"the schema is missing or older than this release: run `customers-api migrate`, then {_AGAIN}")
    except Exception as error:
        reraise_cancellation()
        text = connection_errors.describe(raise_unless_outage(error), "Postgres rejects the command")
        _give_up(f"{text}; {_AGAIN}")


def _cancel_when_signalled(pool: asyncpg.Pool) -> None:
    """Let SIGINT and SIGTERM cancel the current task, even while it waits for a Postgres that does not answer."""
    task = asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        pool.terminate()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, cancel)


async def _start(pool: asyncpg.Pool, rows_per_range: int, kind: ImportKind, ids: Ids) -> UUID:
    """Start or join an import, and print its id."""
    async with pool.acquire() as connection:
        if kind == "rows":
            import_id, new = await _start_rows(connection, ids), True
        else:
            job, new = await writes.start(connection, rows_per_range, kind=kind, requested_by=_REQUESTED_BY)
            import_id = job["id"]
    typer.echo(import_id)
    typer.echo("the import has been requested" if new else "this import is already running", err=True)
    return import_id


async def _start_rows(connection: asyncpg.Connection, ids: Ids) -> UUID:
    if ids.of_customers:
        named = await row_imports.by_customer_ids(connection, ids.of_customers)
    else:
        named = row_imports.by_legacy_ids(ids.legacy)
    return await row_imports.start(connection, named, _REQUESTED_BY)


async def _watch(pool: asyncpg.Pool, import_id: UUID) -> Code:
    """Show the import until it has ended, and then its verdict."""
    console = display.Output(markup=False, highlight=False, emoji=False)
    with display.progress(console) as show:
        while True:
            job = await _read_despite_outages(pool, import_id, console)
            show(job)
            if job.finished_at is not None:
                break
            await asyncio.sleep(_POLL_SECONDS)
    display.verdict(console, job)
    if job.status == "completed" or job.kind == "rows":
        async with pool.acquire() as connection:
            await _show_details(connection, console, job)
    if job.status != "completed":
        return Code.NOT_COMPLETED
    return Code.WARNINGS if job.warnings else Code.COMPLETED


async def _show_details(connection: asyncpg.Connection, console: Console, job: Import) -> None:
    """Show what the job does not hold: the single rows, or how many differences a comparison has found."""
    if job.kind == "rows":
        display.rows(console, (await queries.rows(connection, job.id, {}, ROWS_PER_TASK, 0))[0])
    elif job.kind == "compare":
        _, count = await queries.differences(connection, job.id, {}, 0, 0)
        display.differences(console, count, f"{jobs.url(job.id)}differences/")


async def _read_despite_outages(pool: asyncpg.Pool, import_id: UUID, console: Console) -> Import:
    """The import's state. Raises ImportMissing.

    During an outage of Postgres, retries for `_OUTAGE_SECONDS` before it raises. Raises Misconfigured at once.
    """
    deadline, is_shown = time.monotonic() + _OUTAGE_SECONDS, False
    while True:
        try:
            return await _read(pool, import_id)
        except Exception as error:
            reraise_cancellation()
            outage = raise_unless_outage(error)
            if isinstance(outage, Misconfigured) or time.monotonic() > deadline:
                raise
            if not is_shown:
                console.print(f"{connection_errors.describe(outage, 'Postgres')}; retrying", soft_wrap=True)
                is_shown = True
        await asyncio.sleep(_POLL_SECONDS)


async def _read(pool: asyncpg.Pool, import_id: UUID) -> Import:
    async with pool.acquire() as connection:
        row = await queries.find(connection, import_id)
    if row is None:
        raise ImportMissing
    return jobs.describe(row)


def _end_quietly() -> NoReturn:
    """Nobody reads the output any more, as after `customers-api import --wait | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of the process
    raise typer.Exit(Code.BROKEN_PIPE)


def _give_up(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(Code.UNKNOWN)

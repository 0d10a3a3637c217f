"""The command line of legacy-importer."""

import asyncio
from typing import Annotated

import typer
from pydantic import SecretStr
from vapteke_shared.process import lifecycle, logs
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import load

from legacy_importer import legacy, table_check
from legacy_importer.doctor import admin_script, examination, findings
from legacy_importer.doctor.findings import Finding
from legacy_importer.importer import Importer
from legacy_importer.legacy_errors import LegacyError
from legacy_importer.login import connect
from legacy_importer.publisher import Publisher
from legacy_importer.settings import LegacySettings, WorkSettings
from legacy_importer.task_consumer import TaskConsumer

_NOT_NEEDED = SecretStr("nothing is connected to")

cli = typer.Typer(
    no_args_is_help=True, help="Reads vAptekeSync and publishes its customers.", pretty_exceptions_enable=False
)


@cli.command()
def work() -> None:
    """Take import tasks from Kafka and do them, until SIGTERM or SIGINT."""
    lifecycle.run(WorkSettings, working)


async def working(settings: WorkSettings, stopping: asyncio.Event) -> None:
    """Consume import tasks, and serve the health and the metrics, until `stopping` is set. Then close the producer.

    Raises the same errors as `lifecycle.work`.
    """
    health, publisher = Health("kafka"), Publisher(settings)
    consumer = TaskConsumer(settings, Importer(settings, publisher, stopping), health)
    try:
        await lifecycle.work(settings, health, stopping, {"tasks": consumer.run})
    finally:
        await publisher.close()


@cli.command()
def check() -> None:
    """The short form of `doctor`: connect, compare the table with the settings, count its rows. Publishes nothing."""
    settings = load(LegacySettings)
    logs.configure("ERROR")
    try:
        warnings, rows = asyncio.run(_check(settings))
    except LegacyError as error:
        raise SystemExit(f"legacy-importer check: {error}") from None
    for warning in warnings:
        typer.echo(f"legacy-importer check: warning: {warning}", err=True)
    typer.echo(f"vAptekeSync answers, and its table fits the settings; rows: {rows}")


@cli.command()
def doctor(
    sql: Annotated[bool, typer.Option("--sql", help="Only write a script for SQL Server's administrators")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as JSON")] = False,
) -> None:
    """Examine vAptekeSync, its table and Kafka, and say how to fix what is wrong. Changes nothing.

    Exit code 0: all is ok; 1: something has failed; 2: only warnings or unknowns.
    """
    if sql:
        if as_json:
            raise SystemExit("legacy-importer doctor: --sql writes a script, not findings: leave out --json")
        typer.echo(admin_script.script(load(LegacySettings, vaptekesync_password=_NOT_NEEDED)), nl=False)
        return
    settings = load(WorkSettings)
    logs.configure("ERROR")
    found = asyncio.run(_examined(settings, show=not as_json))
    if as_json:
        typer.echo(findings.to_json(found))
    raise typer.Exit(findings.exit_code(found))


async def _examined(settings: WorkSettings, *, show: bool) -> list[Finding]:
    found = []
    async for finding in examination.examine(settings):
        found.append(finding)
        if show:
            typer.echo(findings.line(finding))
    return found


async def _check(settings: LegacySettings) -> tuple[list[str], int]:
    async with connect(settings) as connection:
        warnings = await table_check.check(connection, settings)
        await legacy.try_to_read(connection, settings)
        return warnings, (await legacy.plan(connection, settings, 10_000)).row_count

"""`customers-api import`: starts an import, shows how far it is, and ends with its verdict."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from uuid import UUID

import asyncpg
import databases
import pytest
import two_postgres
import typer
from customers_api.imports import command
from customers_api.imports.state import CLASSES
from customers_api.settings import WorkSettings
from customers_api.tables import SCHEMA
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract import topics

COUNTS = dict(zip(CLASSES, (1200, 30, 4, 0, 5), strict=True))
REQUESTED, JOINED = "the import has been requested\n", "this import is already running\n"


async def end(pool: asyncpg.Pool, import_id: UUID, status: str, error: str | None = None) -> None:
    counts = ", ".join(f"{name} = {count}" for name, count in COUNTS.items())
    await pool.execute(
        f"UPDATE imports SET status = $2, error = $3, finished_at = now(), {counts} WHERE id = $1",
        import_id,
        status,
        error,
    )


async def waiting(settings: WorkSettings) -> Process:
    """The command once it has printed the id of the running import."""
    command = await databases.start_command(settings, "customers-api", "import", "--wait")
    assert command.stdout
    await command.stdout.readline()
    return command


async def seen(command: Process, text: str) -> None:
    assert command.stdout
    while text not in (line := (await command.stdout.readline()).decode()):
        assert line


async def test_it_starts_an_import_and_then_joins_it_without_kafka(settings: WorkSettings, pool: asyncpg.Pool) -> None:
    first = await databases.try_command(settings, "customers-api", "import")
    second = await databases.try_command(settings, "customers-api", "import", "--kind", "full")

    import_id, kind, requested_by = await pool.fetchrow("SELECT id, kind, requested_by FROM imports")
    assert (kind, requested_by) == ("full", "command line")
    watch = f"watch it: `customers-api import --wait`, or GET /rest/v1/imports/{import_id}/\n"
    assert first == (0, f"{import_id}\n", REQUESTED + watch)
    assert second == (0, f"{import_id}\n", JOINED + watch)
    tasks = await pool.fetchval("SELECT count(*) FROM outbox WHERE topic = $1", topics.IMPORT_TASKS.name)
    assert tasks == 1


@pytest.mark.parametrize(
    ("status", "error", "warnings", "code"),
    [
        ("completed", None, ["the legacy table is empty"], 2),
        ("failed", "vAptekeSync [does] not answer :warning:", ["a clock is wrong"], 1),
    ],
)
async def test_the_verdict_is_the_exit_code(
    settings: WorkSettings,
    pool: asyncpg.Pool,
    running: UUID,
    status: str,
    error: str | None,
    warnings: list[str],
    code: int,
) -> None:
    await pool.execute("UPDATE imports SET warnings = $1", warnings)
    command = await waiting(settings)
    await seen(command, "running")
    await end(pool, running, status, error)

    output, errors = await command.communicate()

    assert (command.returncode, errors.decode()) == (code, JOINED)
    lines = output.decode().splitlines()
    table = [re.findall(r"[\w,]+", line) for line in lines]
    assert ["read", "1,239"] in table
    assert [[name, f"{count:,}"] for name, count in COUNTS.items()] == table[table.index(["created", "1,200"]) :][:5]
    assert any(re.fullmatch(rf"{status} in [\d.]+ s", line) for line in lines)
    said = [*(f"warning: {warning}" for warning in warnings), *([f"error: {error}"] if error else [])]
    assert [line for line in lines if line.startswith(("warning", "error"))] == said


async def test_on_a_terminal_a_bar_shows_how_far_it_is(
    settings: WorkSettings, pool: asyncpg.Pool, running: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = os.openpty()
    command = await databases.start_command(settings, "customers-api", "import", "--wait", output=theirs)
    os.close(theirs)
    output = b""
    with suppress(OSError):  # Linux says so at the end
        while part := await asyncio.to_thread(os.read, ours, 65536):
            output += part
            if b"\xe2\x94\x81" in output:
                await end(pool, running, "completed")
    os.close(ours)

    assert await command.wait() == 0
    assert b"100.0 %" in output
    assert b"1,239" in output


async def test_it_ends_quietly_when_nobody_reads_its_output_any_more(
    settings: WorkSettings, pool: asyncpg.Pool, running: UUID
) -> None:
    ours, theirs = os.pipe()
    command = await databases.start_command(settings, "customers-api", "import", "--wait", output=theirs)
    os.close(theirs)
    await asyncio.to_thread(os.read, ours, 1)
    os.close(ours)
    await end(pool, running, "completed")

    _, errors = await command.communicate()

    assert (command.returncode, errors.decode()) == (141, JOINED)


async def test_a_comparison_says_how_many_differences_it_has_found_and_where_they_are(
    settings: WorkSettings, pool: asyncpg.Pool
) -> None:
    process = await databases.start_command(settings, "customers-api", "import", "--kind=compare", "--wait")
    assert process.stdout
    import_id = UUID((await process.stdout.readline()).decode().strip())
    await pool.execute(
        "INSERT INTO import_differences (import_id, legacy_id, difference) VALUES ($1, 1, 'gone'), ($1, 2, 'orphan')",
        import_id,
    )
    await end(pool, import_id, "completed")

    output, _ = await process.communicate()

    assert output.decode().endswith(f"differences: 2; read them: GET /rest/v1/imports/{import_id}/differences/\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_watching_and_not_the_import(
    settings: WorkSettings, pool: asyncpg.Pool, running: UUID, number: signal.Signals
) -> None:
    command = await waiting(settings)
    await seen(command, "running")
    command.send_signal(number)

    _, errors = await command.communicate()

    assert command.returncode == 130
    assert errors.decode().endswith(
        "\ninterrupted; the import goes on: `customers-api import --wait` joins it while it runs\n"
    )
    assert tuple(await pool.fetchrow("SELECT status, cancelled_at FROM imports")) == ("running", None)


async def test_it_outlasts_an_outage(settings: WorkSettings, pool: asyncpg.Pool, running: UUID) -> None:
    [(_, port)] = settings.postgres_servers
    async with two_postgres.address(port) as address:
        command = await waiting(settings.model_copy(update={"postgres_port": [address.port]}))
        await seen(command, "running")
        address.move(1)
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
        await seen(command, "Postgres at 127.0.0.1")
        await end(pool, running, "completed")
        address.move(port)

        await command.communicate()

    assert command.returncode == 0


async def test_what_must_be_corrected_first_has_an_exit_code_of_its_own(
    settings: WorkSettings, postgres_server: Postgres
) -> None:
    empty = await databases.made(postgres_server, SCHEMA, "without_schema")
    calls = {
        "Postgres at 127.0.0.1:1 cannot be reached": (settings.model_copy(update={"postgres_port": [1]}), "--wait"),
        "run `customers-api migrate`": (empty, "--wait"),
        "configuration: POSTGRES_USER: Field required": (settings.model_copy(update={"postgres_user": ""}), "--wait"),
        "fulls": (settings, "--kind=fulls"),
        "give --kind rows together with either --legacy-ids or --customer-ids": (settings, "--legacy-ids=1"),
    }

    ended = [await databases.try_command(given, "customers-api", "import", option) for given, option in calls.values()]

    assert [(code, output) for code, output, _ in ended] == [(3, "")] * len(calls)
    for text, (_, _, errors) in zip(calls, ended, strict=True):
        assert text in errors


async def test_single_rows_are_named_by_options_and_shown_at_the_end(
    settings: WorkSettings, pool: asyncpg.Pool, running: UUID
) -> None:
    options = ("--kind=rows", "--customer-ids=14722,14738", "--wait")
    process = await databases.start_command(settings, "customers-api", "import", *options)
    assert process.stdout
    import_id = UUID((await process.stdout.readline()).decode().strip())
    await end(pool, import_id, "completed")

    output, errors = await process.communicate()

    found = [re.findall(r"[\w,]+", line) for line in output.decode().splitlines()]
    assert (import_id != running, process.returncode, errors.decode()) == (True, 0, REQUESTED)
    assert [line for line in found if "unknown" in line] == [["14722", "unknown"], ["14738", "unknown"]]


@pytest.mark.parametrize(
    ("legacy_ids", "customer_ids", "text"),
    [
        (None, None, "either --legacy-ids or --customer-ids"),
        ("1", "2", "either --legacy-ids or --customer-ids"),
        ("1,x", None, "as whole numbers with commas between them"),
        (None, str(2**63), "each a number of 64 bits"),
        (",".join(map(str, range(101))), None, "at most 100 ids"),
    ],
)
def test_options_that_name_no_rows_end_the_command(
    legacy_ids: str | None, customer_ids: str | None, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        command.run("rows", legacy_ids, customer_ids)

    assert (ended.value.exit_code, text in capsys.readouterr().err) == (3, True)

"""The demo itself: an import and its verdict, the same import again, then favorites that follow a customer."""

import asyncio
import time

import httpx
from rich.console import Console

from vapteke_local import people
from vapteke_local.demo import customers_topic, database, follow_favorites, imports, rest_client, tables
from vapteke_local.demo.customers_topic import TopicContent
from vapteke_local.demo.imports import NO_PROGRESS_SECONDS, NoProgress
from vapteke_local.demo.rest_client import call
from vapteke_local.demo.verdict import compare
from vapteke_local.stack import start
from vapteke_local.stack.description import Stack
from vapteke_local.stack.start import Options


async def run(options: Options, console: Console) -> int:
    """Starts a stack, runs the demo on it, prints every deviation, and stops the stack. Returns the exit code.

    This is 0 if both verdicts are exact, the events describe as many customers as the first import created, the second
    import wrote no row and sent no event, and the favorites followed their customer in time. Otherwise it is 1. Raises
    StackFailure if the stack does not start or a service does not answer as expected.
    """
    async with start.serve(options, lambda text: console.print(text, markup=False, highlight=False)) as stack:
        async with (
            rest_client.client(stack.customers_api, stack.token) as customers,
            rest_client.client(stack.favorites_api, stack.token) as favorites,
        ):
            faults = await _both_imports(customers, stack, options, console)
            page = await call(customers, "GET", "/rest/v1/customers/", params={"limit": 5})
            console.print(tables.customers(page))
            faults += await follow_favorites.run(customers, favorites, console)
        console.print(tables.memory(stack.processes))
    for fault in faults:
        console.print(fault, style="bold red", markup=False, highlight=False, soft_wrap=True)
    if not faults:
        console.print("[bold green]The verdict is exact.")
    return 1 if faults else 0


async def _both_imports(client: httpx.AsyncClient, stack: Stack, options: Options, console: Console) -> list[str]:
    console.rule("First import", align="left")
    job, timeline = await imports.run_import(client, console)
    console.print(tables.stages(job, timeline))
    faults = compare("First import", job, people.truth(options.seed, options.customers), console)
    if job["status"] != "completed":
        return faults
    first = await _sent_events(stack, console)
    if first.active_customers != job["created"]:
        faults.append(
            f"the events describe {first.active_customers} customers, but the import created {job['created']}"
        )
    before = await database.settled_written_rows(stack.postgres)
    console.rule("Second import of the same rows", align="left")
    job, timeline = await imports.run_import(client, console)
    console.print(tables.stages(job, timeline))
    faults += compare("Second import", job, people.truth_again(options.seed, options.customers), console)
    console.print("waiting for the write statistics of Postgres …")
    await asyncio.sleep(database.STATISTICS_DELAY_SECONDS)
    written = (await database.written_rows(stack.postgres)) - before
    console.print(
        f"rows written by the second import to {', '.join(database.WRITTEN_TABLES)}: {written}", soft_wrap=True
    )
    again = (await _sent_events(stack, console)).events - first.events
    faults += [f"the second import wrote {written} rows"] if written else []
    return faults + ([f"the second import sent {again} events"] if again else [])


async def _sent_events(stack: Stack, console: Console) -> TopicContent:
    """Waits until the outbox is empty, then counts the events and the active customers in the customers topic.

    Prints and returns these numbers. Raises NoProgress if the outbox is not empty after NO_PROGRESS_SECONDS.
    """
    started = time.monotonic()
    while await database.outbox_rows(stack.postgres):
        if time.monotonic() - started > NO_PROGRESS_SECONDS:
            raise NoProgress(f"the outbox is still not empty after {NO_PROGRESS_SECONDS / 60:.0f} minutes")
        await asyncio.sleep(database.POLL_SECONDS)
    waited = time.monotonic() - started
    content = await customers_topic.read_all(stack.variables["favorites-api"])
    text = (
        f"customer events so far: {content.events:,} for {content.active_customers:,} customers;"
        f" the outbox was empty after {waited:.1f} s"
    )
    console.print(text, highlight=False, soft_wrap=True)
    return content

"""A stack whose schedule is paused, and all whose customers have just been imported; small, and at full size."""

from collections.abc import AsyncIterator

import pytest
from restartable_legacy import RestartableLegacy
from running_stack import RunningStack, running_stack, verdict
from stack_sizes import FULL, SEED, SHORT, Size
from stack_state import pause
from vapteke_local import people


@pytest.fixture(
    scope="module",
    params=[pytest.param(SHORT, id="short"), pytest.param(FULL, id="78,553 rows", marks=pytest.mark.prove)],
)
def size(request: pytest.FixtureRequest) -> Size:
    size: Size = request.param
    return size


@pytest.fixture(scope="module")
async def legacy(size: Size) -> AsyncIterator[RestartableLegacy]:
    legacy = RestartableLegacy(SEED, size.customers)
    await legacy.start()
    yield legacy
    await legacy.stop()


@pytest.fixture(scope="module")
async def stack(legacy: RestartableLegacy, size: Size) -> AsyncIterator[RunningStack]:
    variables = {
        "IMPORT_RANGE_ROWS": str(size.rows_per_range),
        "IMPORT_RANGES_IN_FLIGHT": "2",
        "IMPORT_DELETIONS": "apply",
        "IMPORT_SCHEDULE": size.schedule,
        "IMPORT_SCHEDULE_KIND": "changes",
        "MSSQL_RETRIES_SLEEP": "1",
        "MSSQL_RETRIES_COUNT": "1",
    }
    async with running_stack(legacy.server, **variables) as stack:
        yield stack


@pytest.fixture
async def filled(legacy: RestartableLegacy, stack: RunningStack, size: Size) -> AsyncIterator[None]:
    """A full import into an empty database has completed. The schedule is paused before and after the test."""
    await pause(stack)
    await legacy.restart()
    await stack.forget_customers()
    assert verdict(await stack.imported()) == people.truth(SEED, size.customers)
    yield
    await pause(stack)

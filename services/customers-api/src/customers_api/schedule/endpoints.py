"""The endpoints of the schedule of imports (docs/contract.md, "Imports").

Add them to the app before those of imports: `/rest/v1/imports/{import_id}/` also matches the path of the schedule.
"""

from datetime import UTC, datetime

from fastapi import Request
from vapteke_shared.http import application
from vapteke_shared.http.access import auth, callers
from vapteke_shared.http.audit import data_access

from customers_api.schedule import queries, writes
from customers_api.schedule.response_models import ImportSchedule

router = application.router("imports")

_PATH = "/rest/v1/imports/schedule/"


@router.get(
    _PATH,
    summary="Read the schedule of imports",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The schedule",
)
async def get_schedule(request: Request) -> ImportSchedule:
    """When imports start by themselves, if `IMPORT_SCHEDULE` is set, and when one last completed."""
    async with application.connection(request) as connection:
        row = await queries.find(connection)
    paused = row["paused_at"] is not None
    return ImportSchedule(**{**row, "paused": paused, "next_at": None if paused else row["next_at"]})


@router.post(
    _PATH + "pause/",
    summary="Pause the schedule of imports",
    dependencies=[auth.require_scope("imports:run")],
    response_description="The schedule",
)
async def pause_schedule(request: Request) -> ImportSchedule:
    """No import starts by itself until the schedule is resumed, not even after a restart. A running import goes on, and
    callers may still start imports. Safe to repeat.
    """
    async with application.connection(request) as connection:
        await writes.pause(connection, callers.principal(request).subject, datetime.now(UTC))
    data_access.record(request, "imports.schedule_pause", [])
    return await get_schedule(request)


@router.post(
    _PATH + "resume/",
    summary="Resume the schedule of imports",
    dependencies=[auth.require_scope("imports:run")],
    response_description="The schedule",
)
async def resume_schedule(request: Request) -> ImportSchedule:
    """The next import starts at the next due time, also after failures. Due times during the pause are skipped. Safe to
    repeat.
    """
    async with application.connection(request) as connection:
        await writes.resume(connection, datetime.now(UTC))
    data_access.record(request, "imports.schedule_resume", [])
    return await get_schedule(request)

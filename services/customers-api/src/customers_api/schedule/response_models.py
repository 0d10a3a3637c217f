"""Response model of the schedule (docs/contract.md, "Imports")."""

from pydantic import Field
from vapteke_shared.http.body_models import Instant, ResponseModel


class ImportSchedule(ResponseModel):
    """When imports start by themselves, by the settings of `customers-api work`."""

    schedule: str | None = Field(
        description="a cron expression, or an interval; null: no import starts by itself", examples=["0 3 * * *"]
    )
    kind: str | None = Field(description="the kind of these imports; null without a schedule", examples=["full"])
    timezone: str | None = Field(
        description="time zone of a cron expression; null without a schedule", examples=["Europe/Moscow"]
    )
    next_at: Instant | None = Field(
        description="when the next import is due, or the next attempt after a failure; null while paused, without a "
        "schedule, and until `customers-api work` has worked it out",
        examples=["2026-01-03T00:00:00.000Z"],
    )
    paused: bool = Field(description="whether the schedule is paused", examples=[False])
    paused_at: Instant | None = Field(description="since when; null if it is not paused", examples=[None])
    paused_by: str | None = Field(
        description="the subject of the token that paused it; null if it is not paused", examples=[None]
    )
    last_completed_at: Instant | None = Field(
        description="when an import of kind `full` or `changes` last completed, whoever started it; null: never",
        examples=["2026-01-02T00:00:12.890Z"],
    )

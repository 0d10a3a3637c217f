"""Settings of customers-api, in addition to those of every service. docs/configuration.md lists all of them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from vapteke_shared.process import settings
from vapteke_shared.process.settings import TimeZone

from customers_api.imports.fields import TableKind
from customers_api.schedule import times
from customers_api.schedule.times import Schedule


class StartSettings(settings.Settings):
    """The settings of every process that starts imports."""

    import_range_rows: int = Field(10_000, ge=1, le=100_000, description="rows in one key range of an import")


class ServeSettings(settings.ServeSettings, StartSettings):
    """The settings of `customers-api serve`: those of every REST service, and those that start imports."""


class ImportSettings(settings.PostgresSettings, StartSettings):
    """The settings of `customers-api import`: Postgres, and those that start imports."""


class WorkSettings(settings.WorkSettings, StartSettings):
    """The settings of `customers-api work`: those of `favorites-api work` and of starting imports, and those below."""

    import_schedule: Annotated[str, AfterValidator(times.checked)] | None = Field(
        None,
        description="when imports start by themselves: five cron fields, such as 0 3 * * * (every day at 03:00), or an "
        "interval, such as every 15m (also s and h); without it, never",
    )
    import_schedule_kind: TableKind = Field("full", description="the kind of the imports of the schedule")
    import_full_every_hours: float = Field(
        24, gt=0, le=8760, description="with the kind `changes`, an import is full when the last full one is this old"
    )
    import_schedule_timezone: TimeZone = Field("UTC", description="time zone of the cron fields")

    import_ranges_in_flight: int = Field(8, ge=1, le=1000, description="key ranges in flight at the importers")
    import_stalled_seconds: float = Field(900, gt=0, description="an import fails after this long without progress")
    imports_kept: int = Field(
        30, ge=1, description="how many of the latest imports of each kind keep their rejections and differences"
    )
    import_deletions: Literal["report", "apply"] = Field(
        "report",
        description="`apply`: the customers of rows that are gone from vAptekeSync are deleted; `report`: only listed",
    )
    import_deletions_limit: int = Field(
        10, ge=0, description="how many customers may be deleted within 24 hours because their rows are gone"
    )
    import_deletions_limit_percent: float = Field(
        1.0,
        ge=0,
        le=100,
        description="the same limit as a percentage of the active customers who have a row; the greater one applies",
    )
    import_batch_rows: int = Field(5_000, ge=1, le=20_000, description="events applied in one transaction")

    @property
    def schedule(self) -> Schedule | None:
        """None: no import starts by itself."""
        if self.import_schedule is None:
            return None
        return Schedule(
            self.import_schedule,
            self.import_schedule_kind,
            self.import_schedule_timezone,
            self.import_full_every_hours,
        )

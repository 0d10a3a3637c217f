"""Settings of customers-api, in addition to those of every service. docs/configuration.md lists them all."""

from pydantic import Field
from vapteke_shared.process import settings


class ServeSettings(settings.ServeSettings):
    """Settings that only `customers-api serve` reads, on top of those of every REST service."""

    import_range_rows: int = Field(10_000, ge=1, le=100_000, description="rows in one key range of an import")


class WorkSettings(settings.WorkSettings):
    """Settings that only `customers-api work` reads, on top of those that `favorites-api work` reads too."""

    import_ranges_in_flight: int = Field(8, ge=1, le=1000, description="key ranges in flight at the importers")
    import_stalled_seconds: float = Field(900, gt=0, description="an import fails after so long without progress")
    imports_kept: int = Field(30, ge=1, description="how many of the latest imports keep their rejections")
    import_batch_rows: int = Field(5_000, ge=1, le=20_000, description="events applied at once, in two transactions")

"""What callers get of imports: exactly these keys (docs/contract.md)."""

from typing import Literal

from pydantic import Field
from vapteke_shared.http.body_models import Instant, ResponseModel

from customers_api.imports.fields import ImportId, Kind, Status


class StartedImport(ResponseModel):
    """The import that has been requested, or the one that is running."""

    import_id: ImportId
    status: Status = Field(description="how far it is; it never goes back", examples=["requested"])
    url: str = Field(
        description="where the job is to be watched",
        examples=["/rest/v1/imports/0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11/"],
    )


class ImportStarted(ResponseModel):
    """An import has been requested, or one is running."""

    success: Literal[True] = Field(True, description="always true: what fails is a problem")
    message: str = Field(description="which of the two, for a person", examples=["The import has been requested."])
    data: StartedImport = Field(description="the job")


class Import(ResponseModel):
    """An import job. While it lives, the counts are those of the ranges read so far."""

    id: ImportId
    status: Status = Field(description="how far it is; it never goes back", examples=["completed"])
    read: int = Field(description="created + updated + unchanged + skipped + rejected", examples=[78553])
    created: int = Field(description="legacy rows seen for the first time", examples=[77543])
    updated: int = Field(description="legacy rows that have changed", examples=[0])
    unchanged: int = Field(description="legacy rows as they were before", examples=[0])
    skipped: int = Field(description="rows whose customer was deleted through the API", examples=[0])
    rejected: int = Field(description="rows without a usable phone", examples=[1010])
    repaired: int = Field(description="accepted rows that lost a field or a phone on the way in", examples=[2252])
    percent: float | None = Field(description="null before the plan", examples=[100.0])
    rows_per_second: float | None = Field(description="since it started; null before", examples=[11316.1])
    seconds_left: float | None = Field(description="at that rate; null when it cannot be told", examples=[None])
    error: str | None = Field(description="why it failed, or stalled once it was cancelled", examples=[None])
    warnings: list[str] = Field(
        description="what an operator should look at though the import went on, for a person", examples=[[]]
    )
    waiting_for: str | None = Field(
        description="who or what keeps it from going on, for a person; null: nothing unusual", examples=[None]
    )
    requested_at: Instant = Field(description="when it was asked for", examples=["2026-01-02T03:04:05.678Z"])
    started_at: Instant | None = Field(
        description="when an importer took it; null before", examples=["2026-01-02T03:04:05.901Z"]
    )
    finished_at: Instant | None = Field(
        description="when its verdict was made; the counts are final then", examples=["2026-01-02T03:04:12.890Z"]
    )


class ImportList(ResponseModel):
    """One page of imports."""

    items: list[Import] = Field(description="the page")
    count: int = Field(description="all that meet the filters", examples=[2])


class Rejection(ResponseModel):
    """What was rejected or repaired, and why; never the value."""

    legacy_id: int = Field(description="the row's key in vAptekeSync", examples=[3049])
    kind: Kind = Field(
        description="the row was rejected; a field could not be used; the phone is somebody else's", examples=["field"]
    )
    field: str = Field(description="the field", examples=["email"])
    reason: str = Field(description="why, for a program", examples=["not_an_address"])
    customer_id: int | None = Field(description="whose row it is; null when there is no customer", examples=[14722])
    other_customer_id: int | None = Field(description="with phone_conflict: who holds the phone", examples=[None])
    other_legacy_id: int | None = Field(
        description="with phone_conflict: the row of who holds the phone", examples=[None]
    )


class RejectionList(ResponseModel):
    """One page of what was rejected or repaired."""

    items: list[Rejection] = Field(description="the page")
    count: int = Field(description="all of this import that meet the filters", examples=[3262])

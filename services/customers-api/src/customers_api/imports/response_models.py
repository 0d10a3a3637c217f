"""Response models of imports (docs/contract.md, "Imports")."""

from typing import Literal

from pydantic import Field
from vapteke_shared.http.body_models import Instant, ResponseModel

from customers_api.imports.fields import DeletionStatus, Difference, ImportId, Kind, RowOutcome, Status


class StartedImport(ResponseModel):
    """The new import, or the one that is already running."""

    import_id: ImportId
    status: Status = Field(description="state of the import; it only moves forward", examples=["requested"])
    url: str = Field(
        description="path of the job",
        examples=["/rest/v1/imports/0c0f3b1e-7d0a-4c58-9a3b-2f8f6f0f4d11/"],
    )


class ImportStarted(ResponseModel):
    """An import was requested or is already running."""

    success: Literal[True] = Field(True, description="always true; a failure is a problem document")
    message: str = Field(description="which of the two, for people", examples=["The import has been requested."])
    data: StartedImport = Field(description="the job")


class Import(ResponseModel):
    """An import job. Until it ends, the counts are those of the ranges read so far."""

    id: ImportId
    kind: str = Field(
        description="`full`, `changes`, `compare` or `rows`; a later release may add others", examples=["full"]
    )
    full_because: str | None = Field(
        description="why the whole table is read although `changes` was requested; otherwise null", examples=[None]
    )
    status: Status = Field(description="state of the import; it only moves forward", examples=["completed"])
    read: int = Field(description="created + updated + unchanged + skipped + rejected", examples=[78553])
    created: int = Field(description="legacy rows seen for the first time", examples=[77543])
    updated: int = Field(description="legacy rows that have changed", examples=[0])
    unchanged: int = Field(description="legacy rows that have not changed", examples=[0])
    skipped: int = Field(description="rows whose customer was deleted through the API", examples=[0])
    rejected: int = Field(description="rows without a usable phone", examples=[1010])
    repaired: int = Field(description="accepted rows that lost a field or their phone", examples=[2252])
    unread: int = Field(description="legacy rows that did not have to be read; 0 in a full import", examples=[0])
    gone: int = Field(
        description="known rows that this import was the first to miss in vAptekeSync; 0 until it has completed",
        examples=[0],
    )
    percent: float | None = Field(description="null until the plan is made", examples=[100.0])
    rows_per_second: float | None = Field(description="average since the start; null before it", examples=[11316.1])
    seconds_left: float | None = Field(description="at that rate; null if unknown", examples=[None])
    error: str | None = Field(description="why it failed, or why it stalled after a cancel", examples=[None])
    warnings: list[str] = Field(
        description="problems that an operator should look at, although the import went on", examples=[[]]
    )
    waiting_for: str | None = Field(
        description="what the import waits for; null if nothing is unusual", examples=[None]
    )
    requested_by: str | None = Field(
        description="the subject of the token, `schedule`, or `command line`; null in imports of earlier releases",
        examples=["report"],
    )
    requested_at: Instant = Field(description="time of the request", examples=["2026-01-02T03:04:05.678Z"])
    started_at: Instant | None = Field(
        description="time when an importer began; null before it", examples=["2026-01-02T03:04:05.901Z"]
    )
    finished_at: Instant | None = Field(
        description="time of the verdict; from then on the counts are final", examples=["2026-01-02T03:04:12.890Z"]
    )
    repeated: int = Field(
        description="how many later imports of the schedule found nothing either and have no job of their own",
        examples=[0],
    )
    repeated_at: Instant | None = Field(
        description="time of the verdict on the last of them; null: there is none", examples=[None]
    )


class ImportList(ResponseModel):
    """One page of imports."""

    items: list[Import] = Field(description="the items of this page")
    count: int = Field(description="number of imports on all pages", examples=[2])


class Rejection(ResponseModel):
    """A row or field that was rejected or repaired, and why. Values are never shown."""

    legacy_id: int = Field(description="the row's key in vAptekeSync", examples=[3049])
    kind: Kind = Field(
        description="a rejected row, an unusable field, or a phone of another customer",
        examples=["field"],
    )
    field: str = Field(description="name of the field", examples=["email"])
    reason: str = Field(description="reason, as a stable code", examples=["not_an_address"])
    customer_id: int | None = Field(description="customer of the row; null if there is none", examples=[14722])
    other_customer_id: int | None = Field(description="with phone_conflict: the holder of the phone", examples=[None])
    other_legacy_id: int | None = Field(description="with phone_conflict: the holder's legacy row", examples=[None])


class RejectionList(ResponseModel):
    """One page of what was rejected or repaired."""

    items: list[Rejection] = Field(description="the items of this page")
    count: int = Field(description="number of rejections on all pages", examples=[3262])


class Deletion(ResponseModel):
    """A row that is gone from vAptekeSync, and what became of its customer."""

    legacy_id: int = Field(description="the row's key in vAptekeSync", examples=[3049])
    customer_id: int = Field(description="customer of the row", examples=[14722])
    status: DeletionStatus = Field(
        description="`reported` or `withheld`: the customer was not deleted, and the deletion can be approved; "
        "`approved`: the customer is about to be deleted; `applied`: the customer was deleted; `left`: the customer "
        "was left alone, because the API had created it or it was deleted already",
        examples=["reported"],
    )


class DeletionList(ResponseModel):
    """One page of rows that are gone. Those that have returned are no longer listed."""

    items: list[Deletion] = Field(description="the items of this page")
    count: int = Field(description="number of rows on all pages", examples=[500])


class ApprovedDeletions(ResponseModel):
    """The customers who are about to be deleted."""

    count: int = Field(description="how many customers are about to be deleted", examples=[500])


class FoundDifference(ResponseModel):
    """A difference between vAptekeSync and the customers, or among the customers. Values are never shown."""

    legacy_id: int | None = Field(description="the row's key in vAptekeSync; null if there is none", examples=[3049])
    customer_id: int | None = Field(description="the customer; null if there is none", examples=[14722])
    difference: Difference = Field(
        description="what a `full` import would do with the row; `gone`: the row is no longer in vAptekeSync; "
        "`phone_owner`: the holder of a phone is not the customer whom the rules name; `orphan`: the row's customer or "
        "phone does not exist",
        examples=["would_update"],
    )
    fields: list[str] = Field(description="with would_update: the fields that differ", examples=[["lastname"]])


class DifferenceList(ResponseModel):
    """One page of differences."""

    items: list[FoundDifference] = Field(description="the items of this page")
    count: int = Field(description="number of differences on all pages", examples=[50])


class PhoneHolder(ResponseModel):
    """Who holds the phone that a row names."""

    customer_id: int | None = Field(description="the customer who has the phone; null: nobody", examples=[14722])
    legacy_id: int | None = Field(description="that customer's legacy row; null if there is none", examples=[3050])


class FoundRow(ResponseModel):
    """What became of a row that an import of kind `rows` was to read."""

    position: int = Field(description="which of the ids or phones of the request names it, from 0", examples=[0])
    legacy_id: int | None = Field(description="the row's key in vAptekeSync; null if it is unknown", examples=[3049])
    customer_id: int | None = Field(description="customer of the row; null if there is none", examples=[14722])
    outcome: RowOutcome | None = Field(
        description="`absent`: vAptekeSync has no such row; `rejected`: the row is unusable, see `reasons`; `skipped`: "
        "its customer was deleted through the API; `unchanged`, `updated`, `created`: what was done; `unknown`: no row "
        "is known for this customer or phone, so give the row's `legacy_id`, or start an import of kind `changes`; "
        "null: not read and applied yet",
        examples=["updated"],
    )
    fields: list[str] = Field(description="with updated: the fields that have changed", examples=[["lastname"]])
    reasons: dict[str, str] = Field(
        description="fields that cannot be used, and why, as in the rejections", examples=[{"email": "not_an_address"}]
    )
    phone_held_by: PhoneHolder | None = Field(
        description="who has the phone that the row names, if not its customer; known once the import has completed",
        examples=[None],
    )


class FoundRowList(ResponseModel):
    """One page of the rows of an import."""

    items: list[FoundRow] = Field(description="the items of this page")
    count: int = Field(description="number of rows on all pages", examples=[100])

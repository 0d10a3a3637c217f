"""The REST door (contract): customers, and the imports as jobs."""

from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from vapteke_shared.problems import Problem, ProblemError

from customers_api import customers, imports
from customers_api.schemas import (
    Customer,
    CustomerItem,
    CustomerList,
    Import,
    ImportList,
    ImportStarted,
    PhoneItem,
    Rejection,
    RejectionList,
    StartedImport,
)

_INT64 = 2**63 - 1

router = APIRouter(responses={status: {"model": Problem} for status in (422, 503)})


async def _connection(request: Request) -> AsyncIterator[asyncpg.Connection]:
    async with request.app.state.pool.acquire() as connection:
        yield connection


# the connection goes back before the answer is sent: a slow client must not hold it
Connection = Annotated[asyncpg.Connection, Depends(_connection, scope="function")]
Limit = Annotated[int, Query(ge=1, le=1000, description="items per answer")]
Offset = Annotated[int, Query(ge=0, le=_INT64, description="rows to skip")]
CustomerId = Annotated[int, Path(ge=1, le=_INT64)]
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}


@router.get("/rest/v1/customers/", tags=["customers"], summary="List customers")
async def list_customers(connection: Connection, limit: Limit = 50, offset: Offset = 0) -> CustomerList:
    """Customers that are not deleted, in the order of their ids."""
    rows, count = await customers.page(connection, limit, offset)
    return CustomerList(items=[_item(row) for row in rows], count=count)


@router.get("/rest/v1/customers/{customer_id}/", tags=["customers"], summary="One customer", responses=_NOT_FOUND)
async def get_customer(connection: Connection, customer_id: CustomerId) -> Customer:
    """The customer, if not deleted."""
    row = await customers.find(connection, customer_id)
    if row is None:
        raise ProblemError(404, "customer_not_found", "There is no such customer.")
    return Customer(**row)


@router.get(
    "/grpc/v1/service/import_customers/",
    status_code=202,
    tags=["imports"],
    summary="Load the registered customers from vAptekeSync",
)
async def import_customers(request: Request, connection: Connection, response: Response) -> ImportStarted:
    """Starts an import, or joins the one that is running: repeating the call does no harm."""
    response.headers["Cache-Control"] = "no-store"
    job, new = await _request_import(request, connection)
    message = "The import has been requested." if new else "An import is running already: this is it."
    data = StartedImport(import_id=job["id"], status=job["status"], url=_url(job["id"]))
    return ImportStarted(message=message, data=data)


@router.post("/rest/v1/imports/", status_code=202, tags=["imports"], summary="Start an import")
async def start_import(request: Request, connection: Connection, response: Response) -> Import:
    """Starts an import, or joins the one that is running; `Location` is the job."""
    job, _ = await _request_import(request, connection)
    response.headers["Location"] = _url(job["id"])
    return await get_import(connection, job["id"])


@router.get("/rest/v1/imports/", tags=["imports"], summary="List imports")
async def list_imports(connection: Connection, limit: Limit = 50, offset: Offset = 0) -> ImportList:
    """The latest first."""
    rows, count = await imports.history(connection, limit, offset)
    return ImportList(items=[_import(row) for row in rows], count=count)


@router.get("/rest/v1/imports/{import_id}/", tags=["imports"], summary="One import", responses=_NOT_FOUND)
async def get_import(connection: Connection, import_id: UUID) -> Import:
    """The job: status, counts, and how long it will take."""
    row = await imports.find(connection, import_id)
    if row is None:
        raise _no_import()
    return _import(row)


@router.get(
    "/rest/v1/imports/{import_id}/rejections/",
    tags=["imports"],
    summary="What was rejected or repaired",
    responses=_NOT_FOUND,
)
async def list_rejections(
    connection: Connection, import_id: UUID, limit: Limit = 50, offset: Offset = 0
) -> RejectionList:
    """In the order of the legacy ids."""
    if await imports.find(connection, import_id) is None:
        raise _no_import()
    rows, count = await imports.rejections(connection, import_id, limit, offset)
    return RejectionList(items=[Rejection.model_validate(dict(row)) for row in rows], count=count)


async def _request_import(request: Request, connection: asyncpg.Connection) -> tuple[asyncpg.Record, bool]:
    async with connection.transaction():
        return await imports.request(connection, request.app.state.settings.import_range_rows)


def _no_import() -> ProblemError:
    return ProblemError(404, "import_not_found", "There is no such import.")


def _url(import_id: UUID) -> str:
    return f"/rest/v1/imports/{import_id}/"


def _item(row: asyncpg.Record) -> CustomerItem:
    phone = PhoneItem(id=row["phone_id"], code=row["code"], number=row["number"]) if row["phone_id"] else None
    return CustomerItem(**{**row, "phone": phone})


def _import(row: asyncpg.Record) -> Import:
    read = sum(row[name] for name in ("created", "updated", "unchanged", "skipped", "rejected"))
    rate = read / row["seconds"] if row["seconds"] else None
    planned, running = row["planned_rows"], row["finished_at"] is None
    return Import(
        **row,
        read=read,
        percent=_percent(row["status"], read, planned),
        rows_per_second=round(rate, 1) if rate is not None else None,
        seconds_left=round(max(planned - read, 0) / rate, 1) if running and rate and planned is not None else None,
    )


def _percent(status: str, read: int, planned: int | None) -> float | None:
    if status == "completed":
        return 100.0
    return None if planned is None else round(min(100 * read / max(planned, 1), 100.0), 1)

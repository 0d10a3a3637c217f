"""The endpoints of imports, as jobs (docs/contract.md, "Imports")."""

from uuid import UUID

import asyncpg
from fastapi import Request, Response
from vapteke_shared.http import application, head_requests, openapi
from vapteke_shared.http.access import auth, callers
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import query_parameters

from customers_api.imports import jobs, queries, row_imports, writes
from customers_api.imports.fields import ImportId, TableKind
from customers_api.imports.list_parameters import ImportQuery, RejectionQuery
from customers_api.imports.queries import ImportNotFound, Rows
from customers_api.imports.request_models import (
    FULL,
    AnyImport,
    NewImport,
    NewRows,
    RowsByCustomerIds,
    RowsByLegacyIds,
    RowsByPhones,
)
from customers_api.imports.response_models import (
    Import,
    ImportList,
    ImportStarted,
    Rejection,
    RejectionList,
    StartedImport,
)

router = application.router("imports")


@router.get(
    "/grpc/v1/service/import_customers/",
    status_code=202,
    summary="Import the registered customers from vAptekeSync",
    dependencies=[auth.require_scope("imports:run"), head_requests.NOT_BY_HEAD],
    responses={
        202: {
            "description": "The new import, or the one that is already running",
            "headers": openapi.headers(Cache_Control="`no-store`"),
        }
    },
)
async def import_customers(request: Request, response: Response) -> ImportStarted:
    """Starts a full import, or joins the running one. Safe to repeat.

    `HEAD` is not allowed (405), because it must not start anything.
    """
    response.headers["Cache-Control"] = "no-store"
    job, new = await _request_import(request, "full")
    message = "The import has been requested." if new else "This import is already running."
    data = StartedImport(import_id=job["id"], status=job["status"], url=jobs.url(job["id"]))
    return ImportStarted(message=message, data=data)


@router.post(
    "/rest/v1/imports/",
    status_code=202,
    summary="Start an import",
    dependencies=[auth.require_scope("imports:run")],
    responses={
        202: {"description": "The job", "headers": openapi.headers(Location="the job's path")},
        **openapi.problems(import_not_found=404, no_rows=409, too_many_rows=409),
    },
)
async def start_import(request: Request, response: Response, body: AnyImport = FULL) -> Import:
    """Starts an import, or joins the running one of the same kind. `Location` is the path of the job.

    While an import of another kind is running, the new one waits for its turn, with status `requested`. One of kind
    `rows` joins none and does not wait: each request reads its rows at once.
    """
    if isinstance(body, NewImport):
        import_id = (await _request_import(request, body.kind))[0]["id"]
    else:
        import_id = await _request_rows(request, body)
    response.headers["Location"] = jobs.url(import_id)
    return await get_import(request, import_id)


@router.get(
    "/rest/v1/imports/",
    summary="List imports",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The page",
    openapi_extra=query_parameters.parameters(ImportQuery),
)
async def list_imports(request: Request) -> ImportList:
    """Imports, the latest first."""
    query = query_parameters.read(request, ImportQuery)
    async with application.connection(request) as connection:
        rows, count = await queries.history(connection, query.filters(), query.limit, query.offset)
    return ImportList(items=[jobs.describe(row) for row in rows], count=count)


@router.get(
    "/rest/v1/imports/{import_id}/",
    summary="Read an import",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The job",
    responses=openapi.problems(import_not_found=404),
)
async def get_import(request: Request, import_id: ImportId) -> Import:
    """The job: its status, its counts, and how long it will still take."""
    async with application.connection(request) as connection:
        row = await queries.find(connection, import_id)
    if row is None:
        raise ImportNotFound
    return jobs.describe(row)


@router.get(
    "/rest/v1/imports/{import_id}/rejections/",
    summary="List what was rejected or repaired",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The page",
    responses=openapi.problems(import_not_found=404),
    openapi_extra=query_parameters.parameters(RejectionQuery),
)
async def list_rejections(request: Request, import_id: ImportId) -> RejectionList:
    """Rejections, ordered by legacy id. Only the latest imports keep them (`IMPORTS_KEPT`)."""
    query = query_parameters.read(request, RejectionQuery)
    async with application.connection(request) as connection:
        await queries.check_exists(connection, import_id)
        rows, count = await queries.rejections(connection, import_id, query.filters(), query.limit, query.offset)
    _record_rejections(request, import_id, query, rows)
    return RejectionList(items=[Rejection.model_validate(dict(row)) for row in rows], count=count)


@router.post(
    "/rest/v1/imports/{import_id}/cancel/",
    status_code=202,
    summary="Cancel an import",
    dependencies=[auth.require_scope("imports:run")],
    response_description="The job",
    responses=openapi.problems(import_not_found=404, import_ended=409),
)
async def cancel_import(request: Request, import_id: ImportId) -> Import:
    """No more key ranges are requested. Those in flight are still read, applied and counted; then the job is
    `cancelled`, or `completed` if they were the last. Applied changes stay. Safe to repeat.
    """
    async with application.connection(request) as connection:
        is_known = await writes.cancel(connection, import_id)
    if not is_known:
        raise ImportNotFound
    data_access.record(request, "imports.cancel", [str(import_id)])
    return await get_import(request, import_id)


async def _request_import(request: Request, kind: TableKind) -> tuple[asyncpg.Record, bool]:
    """Start an import, or join the unfinished one of this kind. Returns the import, and whether it is new.

    The audit records the id of the import: the customers that it will change are not known yet.
    """
    async with application.connection(request) as connection:
        rows_per_range = request.app.state.settings.import_range_rows
        requested_by = callers.principal(request).subject
        job, new = await writes.start(connection, rows_per_range, kind=kind, requested_by=requested_by)
    data_access.record(request, "imports.start" if new else "imports.join", [str(job["id"])])
    return job, new


async def _request_rows(request: Request, body: NewRows) -> UUID:
    """Start an import of single rows, and return its id. Raises ImportNotFound, NoRows, TooManyRows."""
    async with application.connection(request) as connection:
        match body:
            case RowsByLegacyIds():
                named = row_imports.by_legacy_ids(body.legacy_ids)
            case RowsByCustomerIds():
                named = await row_imports.by_customer_ids(connection, body.customer_ids)
            case RowsByPhones():
                named = await row_imports.by_phones(connection, body.phones)
            case _:
                named = await row_imports.rejected_in(connection, body.rejected_in, body.field, body.reason)
        import_id = await row_imports.start(connection, named, callers.principal(request).subject)
    data_access.record(request, "imports.start", [str(import_id)])
    return import_id


def _record_rejections(request: Request, import_id: UUID, query: RejectionQuery, rows: Rows) -> None:
    """Record for the audit the customers and legacy ids that the request names, and those in `rows`, with the holders
    of their phones.
    """
    found = {row[name] for row in rows for name in ("customer_id", "other_customer_id")} - {None}
    legacy = {row[name] for row in rows for name in ("legacy_id", "other_legacy_id")} - {None}
    ids, legacy_ids = sorted(found.union(query.customer_id or ())), sorted(legacy.union(query.legacy_id or ()))
    data_access.record(request, "imports.rejections", ids, legacy_ids=legacy_ids, import_id=str(import_id))

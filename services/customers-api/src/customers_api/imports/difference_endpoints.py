"""The endpoints of the differences that an import of kind `compare` has found (docs/contract.md, "Differences")."""

from fastapi import Request, Response
from vapteke_shared.http import application, openapi
from vapteke_shared.http.access import auth, callers
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import query_parameters

from customers_api.imports import jobs, queries, repairs
from customers_api.imports.fields import ImportId
from customers_api.imports.list_parameters import DifferenceQuery
from customers_api.imports.response_models import DifferenceList, FoundDifference, Import

router = application.router("imports")


@router.get(
    "/rest/v1/imports/{import_id}/differences/",
    summary="List the differences that a comparison has found",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The page",
    responses=openapi.problems(import_not_found=404),
    openapi_extra=query_parameters.parameters(DifferenceQuery),
)
async def list_differences(request: Request, import_id: ImportId) -> DifferenceList:
    """Differences, ordered by legacy id. Only an import of kind `compare` has any. The latest such imports keep them
    (`IMPORTS_KEPT`).
    """
    query = query_parameters.read(request, DifferenceQuery)
    async with application.connection(request) as connection:
        await queries.check_exists(connection, import_id)
        rows, count = await queries.differences(connection, import_id, query.filters(), query.limit, query.offset)
    customers = sorted(({row["customer_id"] for row in rows} - {None}).union(query.customer_id or ()))
    legacy_ids = sorted(({row["legacy_id"] for row in rows} - {None}).union(query.legacy_id or ()))
    data_access.record(request, "imports.differences", customers, legacy_ids=legacy_ids, import_id=str(import_id))
    return DifferenceList(items=[FoundDifference.model_validate(dict(row)) for row in rows], count=count)


@router.post(
    "/rest/v1/imports/{import_id}/repair/",
    status_code=202,
    summary="Repair what a comparison has found",
    dependencies=[auth.require_scope("imports:run")],
    responses={
        202: {"description": "The import that reads the rows", "headers": openapi.headers(Location="the job's path")},
        **openapi.problems(import_not_found=404, not_a_comparison=409, no_rows=409, too_many_rows=409),
    },
)
async def repair_differences(request: Request, response: Response, import_id: ImportId) -> Import:
    """Gives each phone to the customer who should hold it, and starts an import of kind `rows` that reads the rows of
    all differences again, at most 10,000. Safe to repeat.
    """
    async with application.connection(request) as connection:
        repair = await repairs.start(connection, import_id, callers.principal(request).subject)
        job = await queries.find(connection, repair.import_id)
    data_access.record(request, "imports.repair", repair.customer_ids, import_id=str(repair.import_id))
    response.headers["Location"] = jobs.url(repair.import_id)
    assert job is not None
    return jobs.describe(job)

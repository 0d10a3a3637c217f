"""The endpoint of the differences that an import of kind `compare` has found (docs/contract.md, "Differences")."""

from fastapi import Request
from vapteke_shared.http import application, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import query_parameters

from customers_api.imports import queries
from customers_api.imports.fields import ImportId
from customers_api.imports.list_parameters import DifferenceQuery
from customers_api.imports.response_models import DifferenceList, FoundDifference

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

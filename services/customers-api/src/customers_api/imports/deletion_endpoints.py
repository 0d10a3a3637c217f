"""The endpoints of rows that are gone from vAptekeSync (docs/contract.md, "Rows that are gone")."""

from fastapi import Request
from vapteke_shared.http import application, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import query_parameters

from customers_api.imports import gone_rows, queries
from customers_api.imports.fields import ImportId
from customers_api.imports.list_parameters import DeletionQuery
from customers_api.imports.request_models import Approval
from customers_api.imports.response_models import ApprovedDeletions, Deletion, DeletionList

router = application.router("imports")
_PATH = "/rest/v1/imports/{import_id}/deletions/"


@router.get(
    _PATH,
    summary="List the rows that are gone from vAptekeSync",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The page",
    responses=openapi.problems(import_not_found=404),
    openapi_extra=query_parameters.parameters(DeletionQuery),
)
async def list_deletions(request: Request, import_id: ImportId) -> DeletionList:
    """The rows that this import was the first to miss, ordered by legacy id. A row that has returned is not listed."""
    query = query_parameters.read(request, DeletionQuery)
    async with application.connection(request) as connection:
        await queries.check_exists(connection, import_id)
        rows, count = await queries.deletions(connection, import_id, query.filters(), query.limit, query.offset)
    customers, legacy_ids = sorted(row["customer_id"] for row in rows), [row["legacy_id"] for row in rows]
    data_access.record(request, "imports.deletions", customers, legacy_ids=legacy_ids, import_id=str(import_id))
    return DeletionList(items=[Deletion.model_validate(dict(row)) for row in rows], count=count)


@router.post(
    _PATH + "approve/",
    status_code=202,
    summary="Delete the customers of rows that are gone",
    dependencies=[auth.require_scope("imports:run")],
    response_description="How many customers are about to be deleted",
    responses=openapi.problems(import_not_found=404, too_many_deletions=409),
)
async def approve_deletions(request: Request, import_id: ImportId, approval: Approval) -> ApprovedDeletions:
    """Approves the deletions of this import that are `reported` or `withheld`, if there are at most `count` of them.

    Rows that have returned meanwhile do not count. About 50 customers a second are deleted. Safe to repeat.
    """
    async with application.connection(request) as connection:
        await queries.check_exists(connection, import_id)
        count = await gone_rows.approve(connection, import_id, approval.count)
    data_access.record(request, "imports.approve_deletions", [str(import_id)])
    return ApprovedDeletions(count=count)

"""The endpoint of the rows that an import of kind `rows` has read (docs/contract.md, "Single rows")."""

import json

import asyncpg
from fastapi import Request
from vapteke_shared.http import application, openapi
from vapteke_shared.http.access import auth
from vapteke_shared.http.audit import data_access
from vapteke_shared.http.lists import query_parameters

from customers_api.imports import queries
from customers_api.imports.fields import ImportId
from customers_api.imports.list_parameters import RowQuery
from customers_api.imports.response_models import FoundRow, FoundRowList, PhoneHolder

router = application.router("imports")


@router.get(
    "/rest/v1/imports/{import_id}/rows/",
    summary="List what became of single rows",
    dependencies=[auth.require_scope("imports:read")],
    response_description="The page",
    responses=openapi.problems(import_not_found=404),
    openapi_extra=query_parameters.parameters(RowQuery),
)
async def list_rows(request: Request, import_id: ImportId) -> FoundRowList:
    """The rows that an import of kind `rows` was to read, in the order of its request. Other imports have none. The
    latest such imports keep them (`IMPORTS_KEPT`).
    """
    query = query_parameters.read(request, RowQuery)
    async with application.connection(request) as connection:
        await queries.check_exists(connection, import_id)
        rows, count = await queries.rows(connection, import_id, query.filters(), query.limit, query.offset)
    customers = {row[name] for row in rows for name in ("customer_id", "other_customer_id")} - {None}
    legacy = {row[name] for row in rows for name in ("legacy_id", "other_legacy_id")} - {None}
    data_access.record(request, "imports.rows", sorted(customers), legacy_ids=sorted(legacy), import_id=str(import_id))
    return FoundRowList(items=[found_row(row) for row in rows], count=count)


def found_row(row: asyncpg.Record) -> FoundRow:
    """`row` is one of `queries.rows`."""
    held_by = None
    if row["is_held"]:
        held_by = PhoneHolder(customer_id=row["other_customer_id"], legacy_id=row["other_legacy_id"])
    return FoundRow(
        **{name: row[name] for name in ("position", "legacy_id", "customer_id", "outcome", "fields")},
        reasons=json.loads(row["reasons"] or "{}"),
        phone_held_by=held_by,
    )

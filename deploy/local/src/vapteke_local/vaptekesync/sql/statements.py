"""The statements that the stand-in answers: those of legacy-importer, and no others.

| name        | statement                                                                                        |
|-------------|--------------------------------------------------------------------------------------------------|
| ping        | SELECT 1                                                                                         |
| clock       | SELECT SYSUTCDATETIME()                                                                          |
| databases   | SELECT state_desc, user_access_desc FROM sys.databases WHERE name = ?                            |
| columns     | SELECT COLUMN_NAME, DATA_TYPE, IS_NULLABLE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ?|
|             | AND TABLE_NAME = ?                                                                               |
| indexes     | SELECT i.name, c.name FROM sys.indexes AS i JOIN sys.index_columns AS k ON k.object_id =         |
|             | i.object_id AND k.index_id = i.index_id JOIN sys.columns AS c ON c.object_id = k.object_id AND   |
|             | c.column_id = k.column_id WHERE i.object_id = OBJECT_ID(?) AND i.is_unique = 1 AND               |
|             | i.has_filter = 0 AND i.is_disabled = 0 AND i.is_hypothetical = 0 AND k.key_ordinal > 0           |
| type        | SELECT type_desc FROM sys.objects WHERE object_id = OBJECT_ID(?)                                 |
| synonym     | SELECT base_object_name FROM sys.synonyms WHERE object_id = OBJECT_ID(?)                         |
| sizes       | SELECT COLUMN_NAME, CHARACTER_MAXIMUM_LENGTH, COLLATION_NAME FROM INFORMATION_SCHEMA.COLUMNS     |
|             | WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?                                                        |
| permissions | SELECT permission_name FROM fn_my_permissions(?, 'OBJECT') WHERE subentity_name = ''             |
| same text   | SELECT COUNT_BIG(*) FROM [dbo].[Customers] WHERE [ID] = ? AND CAST([Column] AS                   |
|             | nvarchar(4000)) = ?                                                                              |
| newest      | SELECT MAX([Column]) FROM [dbo].[Customers] WHERE [Column] <= DATEADD(hour, 15,                  |
|             | SYSUTCDATETIME())                                                                                |
| key counts  | SELECT COUNT_BIG(*), COUNT_BIG([ID]), COUNT_BIG(DISTINCT [ID]) FROM [dbo].[Customers]            |
| boundaries  | SELECT k, n FROM (SELECT [ID] AS k, ROW_NUMBER() OVER (ORDER BY [ID]) AS n, LEAD([ID]) OVER      |
|             | (ORDER BY [ID]) AS following FROM [dbo].[Customers]) AS numbered WHERE n % 10000 = 0 OR          |
|             | following IS NULL ORDER BY k; or with WHERE [ID] > ? after [Customers]                           |
| range       | SELECT [ID], CAST([Phone] AS nvarchar(4000)), …, a fingerprint or none FROM [dbo].[Customers]    |
|             | WHERE [ID] > ? AND [ID] <= ? ORDER BY [ID]; or with [ID] <= ? alone                              |
| rows        | the same SELECT with WHERE [ID] IN (?, ?, …)                                                     |
| identity    | SELECT @@SERVERNAME, DB_NAME(), d.create_date, o.object_id, o.type_desc, o.modify_date FROM      |
|             | sys.objects AS o JOIN sys.databases AS d ON d.database_id = DB_ID() WHERE o.object_id =          |
|             | OBJECT_ID(?)                                                                                     |
| fingerprints| SELECT 0, COUNT_BIG(*), SUM(CAST(fingerprint AS decimal(38, 0))) FROM [dbo].[Customers] WHERE    |
|             | [ID] > ? AND [ID] <= ? UNION ALL SELECT 1, …; the first or any other with [ID] <= ? alone        |

These may vary: white space, the case of words, brackets around names, comments, a closing semicolon, the aliases, the
step of `boundaries`, and the select list of `range` and `rows`: any of the table's columns in any order, each plain or
CAST AS nvarchar(n or max), a datetimeoffset also CONVERT(nvarchar(n), [column], 126). A `?` may be a parameter or a
literal. The ORDER BY, the bounds and the IN are on the table's key.

A fingerprint is CAST([column] AS bigint) of a rowversion, or CAST(SUBSTRING(HASHBYTES('SHA2_256', CONCAT(…)), 1, 8) AS
bigint). The arguments of CONCAT may be texts, DATALENGTH([column]), CAST([column] AS nvarchar(n)), dates as
CONVERT(nvarchar(n), [column], 121), money with the style 2, and the bytes of a float or a rowversion as
CONVERT(nvarchar(n), CAST([column] AS binary(8)), 2).

Readers never wait for a transaction: they see the rows that were committed last, as in a database with
READ_COMMITTED_SNAPSHOT. For a reader that a lock keeps waiting, set the fault `fail` with number 1222.

What drivers send on their own (SET, USE, BEGIN, COMMIT, ROLLBACK, the question which types exist) is accepted and does
nothing: `done`. Another table is error 208, an unknown column 207, and a column that may not be read 230. Everything
else is error 102.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from vapteke_local.vaptekesync.sql import doctor_queries, syntax, system_queries, table_queries
from vapteke_local.vaptekesync.sql.errors import not_listed
from vapteke_local.vaptekesync.sql.results import Result, Run
from vapteke_local.vaptekesync.sql.syntax import Mismatch, Token

SENT_BY_DRIVERS = re.compile(
    r"""\s*(?:(?: SET\s(?:(?!\bSELECT\b)[^;])+? | USE\s+\S+
        | sp_datatype_info\w*\s+[-\d,\s]+
        | (?:IF\s+@@TRANCOUNT\s*>\s*0\s+)?(?:BEGIN|COMMIT|ROLLBACK)(?:\s+TRAN\w*)? )\s*(?:;|$)\s*)+""",
    re.IGNORECASE | re.VERBOSE,
)


class Statement(NamedTuple):
    name: str
    run: Run


RECOGNISERS: dict[str, Callable[[list[Token]], Run]] = {
    "ping": system_queries.ping,
    "clock": system_queries.clock,
    "databases": system_queries.databases,
    "columns": system_queries.columns,
    "indexes": system_queries.indexes,
    "type": system_queries.object_type,
    "synonym": system_queries.synonym,
    "sizes": doctor_queries.sizes,
    "permissions": doctor_queries.permissions,
    "same text": doctor_queries.same_text,
    "newest": doctor_queries.newest,
    "identity": system_queries.identity,
    "key counts": table_queries.key_counts,
    "boundaries": table_queries.boundaries,
    "range": table_queries.key_range,
    "rows": table_queries.some_rows,
    "fingerprints": table_queries.fingerprints,
}


def compile_sql(sql: str) -> Statement:
    """Recognises a statement and returns its name and a function that runs it.

    The name is `done` for an empty text and for what drivers send on their own. Raises SqlError 102 for a statement
    that is not listed, and SqlError 131 for a CAST to an nvarchar of an invalid size. Names of tables and columns, and
    parameters, are checked only by the returned function, which raises SqlError too.
    """
    given = syntax.tokens(sql)
    if not given or SENT_BY_DRIVERS.fullmatch(sql):
        return Statement("done", lambda _parameters, _database: Result())
    farthest = 0
    for name, recognise in RECOGNISERS.items():
        try:
            return Statement(name, recognise(given))
        except Mismatch as mismatch:
            farthest = max(farthest, mismatch.position)
    raise not_listed(given[farthest].text if farthest < len(given) else given[-1].text)

"""The script for the administrators of vAptekeSync's SQL Server: what `legacy-importer doctor --sql` writes."""

from legacy_importer import legacy
from legacy_importer.column_types import quoted
from legacy_importer.settings import LegacySettings


def script(settings: LegacySettings) -> str:
    """T-SQL that gives the user of the importer what an import needs. Safe to repeat. Needs no connection to write.

    It contains no password: the login must exist before.
    """
    user, database, key = settings.vaptekesync_user, settings.vaptekesync_db, settings.vaptekesync_columns.id
    return _SCRIPT.format(
        user=quoted(user),
        user_text=_text(user),
        database=quoted(database),
        table=legacy.table_name(settings),
        table_text=_text(legacy.table_name(settings)),
        key=quoted(key),
        key_text=_text(key),
        index=quoted(f"UX_{settings.vaptekesync_table}_{key}"[:128]),
    )


def _text(value: str) -> str:
    return "N'" + value.replace("'", "''") + "'"


_SCRIPT = """\
-- What legacy-importer needs in SQL Server. Run it as an administrator of the database; it is safe to repeat.
-- The login must exist. If it does not: CREATE LOGIN {user} WITH PASSWORD = '...';
USE {database};

-- A user for the login, with the right to read one table.
IF USER_ID({user_text}) IS NULL
    CREATE USER {user} FOR LOGIN {user};
ELSE IF SUSER_ID({user_text}) IS NOT NULL
    ALTER USER {user} WITH LOGIN = {user}; -- after a restore from another server the user has lost its login
GRANT SELECT ON {table} TO {user};

-- The key must never be null. Changing the column needs its type, so this only says what to do.
IF COLUMNPROPERTY(OBJECT_ID({table_text}), {key_text}, 'AllowsNull') = 1
    PRINT N'The key may be null: ALTER TABLE ... ALTER COLUMN ... <its type> NOT NULL';

-- A table needs a unique index of the key alone. Building it blocks writers: choose a quiet hour.
IF OBJECTPROPERTY(OBJECT_ID({table_text}), 'IsUserTable') = 1 AND NOT EXISTS (
    SELECT i.index_id FROM sys.indexes AS i
    JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id AND k.key_ordinal > 0
    JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
    WHERE i.object_id = OBJECT_ID({table_text}) AND i.is_unique = 1 AND i.has_filter = 0
        AND i.is_disabled = 0 AND i.is_hypothetical = 0
    GROUP BY i.index_id HAVING COUNT(*) = 1 AND MIN(c.name) = {key_text}
)
    CREATE UNIQUE INDEX {index} ON {table} ({key});
"""

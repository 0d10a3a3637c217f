"""Postgres' statistics hold the thousand most frequent last names, not a hundred. Postgres assumes that others are
rare.

Of ten million customers, 44,000 had one frequent name that the hundred did not include. A list of them read and sorted
all 44,000, instead of reading the first fifty by id. The next ANALYZE, also one by autovacuum, collects the thousand.
The lock of this migration blocks neither readers nor writers.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER INDEX customers.customers_lastname_idx ALTER COLUMN 1 SET STATISTICS 1000")


def downgrade() -> None:
    op.execute("ALTER INDEX customers.customers_lastname_idx ALTER COLUMN 1 SET STATISTICS -1")

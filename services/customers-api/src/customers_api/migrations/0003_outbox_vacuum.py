"""The outbox is vacuumed at full speed after a number of deleted rows; the number of waiting rows does not matter."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PARAMETERS = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_vacuum_cost_delay": 0,
}


def upgrade() -> None:
    op.execute(f"ALTER TABLE customers.outbox SET ({', '.join(f'{name} = {v}' for name, v in _PARAMETERS.items())})")


def downgrade() -> None:
    op.execute(f"ALTER TABLE customers.outbox RESET ({', '.join(_PARAMETERS)})")

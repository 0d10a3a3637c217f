"""Postgres vacuums the outbox after 1,000 deleted rows and at full speed, however many rows wait to be sent."""

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

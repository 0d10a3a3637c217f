"""An import stores when it was cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("imports", sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True), schema="customers")


def downgrade() -> None:
    op.drop_column("imports", "cancelled_at", schema="customers")

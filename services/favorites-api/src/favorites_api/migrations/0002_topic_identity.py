"""Stores the id of a topic with its offsets, because a topic that was deleted and created again has another id."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("consumed_offsets", sa.Column("topic_id", sa.Uuid(), nullable=True), schema="favorites")


def downgrade() -> None:
    op.drop_column("consumed_offsets", "topic_id", schema="favorites")

"""What the checks of one examination know about the system."""

from dataclasses import dataclass, field

from vapteke_shared.messaging.topic_differences import Differences

from legacy_importer.doctor.queries import TextColumn
from legacy_importer.legacy import Plan
from legacy_importer.legacy_errors import LegacyError
from legacy_importer.settings import WorkSettings
from legacy_importer.table_check import Column
from legacy_importer.translate import LegacyRow


@dataclass
class Subject:
    """The settings, and what earlier checks found for later ones."""

    settings: WorkSettings
    login_error: LegacyError | None = None
    is_view: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    """The columns of the table that the user may see, by name in lower case."""
    texts: dict[str, TextColumn] = field(default_factory=dict)
    """Size and collation of the same columns."""
    plan: Plan = field(default_factory=lambda: Plan(0, []))
    rows: list[LegacyRow] = field(default_factory=list)
    """The rows of the first key range."""
    topics: Differences = field(default_factory=lambda: Differences([], [], []))

    def text(self, column: str) -> TextColumn:
        return self.texts.get(column.casefold(), TextColumn(None, None))

    @property
    def table(self) -> str:
        return f"{self.settings.vaptekesync_schema}.{self.settings.vaptekesync_table}"

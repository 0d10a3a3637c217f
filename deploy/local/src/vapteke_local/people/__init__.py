"""Made-up customers of the legacy table, and the verdict that a correct import of them reaches."""

from vapteke_local.people.generator import MAX_COUNT, Expected, Person, generate, labelled, truth, truth_again
from vapteke_local.people.legacy_ids import legacy_id

__all__ = ["MAX_COUNT", "Expected", "Person", "generate", "labelled", "legacy_id", "truth", "truth_again"]

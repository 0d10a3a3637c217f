"""All topics: names, keys, producers, consumers, events, partitions and retention."""

from typing import NamedTuple

from vapteke_shared.contract.events import customers, imports, legacy_customers
from vapteke_shared.contract.events.event import Event
from vapteke_shared.contract.limits import DEAD_LETTER_BYTES

_DAY_MS = 24 * 3600 * 1000


class Topic(NamedTuple):
    """A Kafka topic: what it contains, and which services send and receive its events.

    `key` describes the key of the records, `config` is Kafka's topic configuration. `consumers` may also be `operators`
    or `anybody`. Dead-letter topics have no events. A topic exists for `vapteke-topics` only if it is in `ALL`.
    """

    name: str
    content: str
    key: str
    producer: str
    consumers: tuple[str, ...]
    events: tuple[type[Event], ...]
    partitions: int
    config: dict[str, str]

    @property
    def version(self) -> str:
        """The last part of the name. An incompatible change of an event needs a topic with a new version."""
        return self.name.rpartition(".")[2]


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS)}


CUSTOMERS_API, IMPORTER, FAVORITES_API = "customers-api", "legacy-importer", "favorites-api"
IMPORT_TASKS = Topic(
    "vapteke.import.tasks.v1",
    "Tasks for importers: a work queue that all of them share.",
    key="import id, chunk",
    producer=CUSTOMERS_API,
    consumers=(IMPORTER,),
    events=imports.TASKS,
    partitions=8,
    config=_kept(7),
)
IMPORT_PROGRESS = Topic(
    "vapteke.import.progress.v1",
    "The progress of the importers.",
    key="import id",
    producer=IMPORTER,
    consumers=(CUSTOMERS_API,),
    events=imports.PROGRESS,
    partitions=1,
    config=_kept(7),
)
LEGACY_CUSTOMERS = Topic(
    "vapteke.legacy.customers.v1",
    "One event per row read from vAptekeSync: the customer, normalised, or why the row cannot become one.",
    key="legacy id",
    producer=IMPORTER,
    consumers=(CUSTOMERS_API,),
    events=legacy_customers.LEGACY_CUSTOMERS,
    partitions=8,
    config=_kept(3),
)
IMPORT_STATE = Topic(
    "vapteke.import.state.v1",
    "Which import is active, and how each import ended.",
    key="import id",
    producer=CUSTOMERS_API,
    consumers=(IMPORTER,),
    events=imports.STATES,
    partitions=1,  # the order of imports is the order of its records
    config=_kept(14),  # longer than the tasks
)
CUSTOMERS = Topic(
    "vapteke.customers.v1",
    "The full state of a customer after each change. Act on the state, never on the event's type alone. Ignore an "
    "event whose `version` is not greater than the one you have; gaps are normal. A null value means that the person "
    "was erased.",
    key="customer id",
    producer=CUSTOMERS_API,
    consumers=(FAVORITES_API, "anybody"),
    events=customers.CUSTOMERS,
    partitions=8,
    config={
        "cleanup.policy": "compact",
        "max.compaction.lag.ms": str(_DAY_MS),
        "delete.retention.ms": str(14 * _DAY_MS),  # a consumer may be down for this long and still see who was erased
    },
)


def _dead_name(name: str) -> str:
    return f"{name.removesuffix('.v1')}.dead.v1"


def _dead(topic: Topic, consumer: str) -> Topic:
    """The dead-letter topic of `topic`: `consumer` sends the records there that it cannot decode."""
    return Topic(
        _dead_name(topic.name),
        f"Records of {topic.name} that could not be understood: the value, at most {DEAD_LETTER_BYTES // 1024} KiB of "
        "it; headers say why, and where it was.",
        key="origin",
        producer=consumer,
        consumers=("operators",),
        events=(),
        partitions=1,
        config=_kept(14),
    )


LEGACY_CUSTOMERS_DEAD = _dead(LEGACY_CUSTOMERS, CUSTOMERS_API)
IMPORT_PROGRESS_DEAD = _dead(IMPORT_PROGRESS, CUSTOMERS_API)
IMPORT_TASKS_DEAD = _dead(IMPORT_TASKS, IMPORTER)
ALL = (
    IMPORT_TASKS,
    IMPORT_TASKS_DEAD,
    IMPORT_PROGRESS,
    IMPORT_PROGRESS_DEAD,
    IMPORT_STATE,
    LEGACY_CUSTOMERS,
    LEGACY_CUSTOMERS_DEAD,
    CUSTOMERS,
)


def dead_letter_topic(name: str) -> str:
    """The name of a topic's dead-letter topic. Raises KeyError when it has none."""
    return {topic.name: topic.name for topic in ALL}[_dead_name(name)]

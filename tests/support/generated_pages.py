"""The pages of `docs/` that are made from the code: the settings and the metrics. `make contracts` writes them."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from customers_api import app as customers_app
from customers_api import settings as customers
from favorites_api import app as favorites_app
from legacy_importer import cli as importer_cli
from legacy_importer import settings as importer
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process import settings
from vapteke_shared.process.settings import Settings

LOADED = (customers_app, favorites_app, importer_cli)
"""These modules import every module that defines a metric."""

PROCESSES: Mapping[str, type[Settings]] = {
    "customers-api serve": customers.ServeSettings,
    "customers-api work": customers.WorkSettings,
    "customers-api import": customers.ImportSettings,
    "customers-api migrate": settings.PostgresOwnerSettings,
    "favorites-api serve": settings.ServeSettings,
    "favorites-api work": settings.WorkSettings,
    "favorites-api migrate": settings.PostgresOwnerSettings,
    "legacy-importer work": importer.WorkSettings,
    "vapteke-topics": TopicsSettings,
}


class Group(NamedTuple):
    title: str
    note: str
    kinds: tuple[type[Settings], ...]
    """The classes whose own fields the group lists."""


GROUPS = (
    Group("Postgres", "Each service has its own role and its own schema.", (settings.PostgresSettings,)),
    Group(
        "The owner of the schema",
        "Only migrations run as this role.",
        (settings.PostgresOwnerSettings,),
    ),
    Group("Kafka", "", (settings.KafkaSettings,)),
    Group("Kafka consumers", "", (settings.ConsumerSettings,)),
    Group("Creating topics", "", (TopicsSettings,)),
    Group(
        "vAptekeSync",
        "`legacy-importer doctor` and `legacy-importer check` need these variables too. How to choose driver, "
        "encryption and certificates: [vaptekesync.md](vaptekesync.md).",
        (importer.LegacySettings,),
    ),
    Group("Imports: the request", "", (customers.StartSettings,)),
    Group("Imports: the consumers", "", (customers.WorkSettings,)),
    Group(
        "Tokens and callers",
        "How to change `SECRET_KEY` without ending the tokens: [deploy/README.md](../deploy/README.md).",
        (settings.AuthSettings,),
    ),
    Group("REST", "", (settings.HttpSettings,)),
    Group("Metrics and health", "", (settings.MetricsSettings,)),
    Group("Logs", "", (Settings,)),
)

_CONFIGURATION = """# Configuration

<!-- `make contracts` writes this page from the settings classes. -->

Every setting is an environment variable. A process also reads a file `.env` in its working directory, and one file per
variable in `/run/secrets` (the file's name is the variable's, in lower case). The environment goes before `.env`, and
`.env` before the secrets. An empty variable counts as not set.

A missing or invalid value ends the start with one line that names the variable and never shows its value:

```
configuration: POSTGRES_HOST: Field required; SECRET_KEY: must have at least 32 bytes
```

The code that reads the settings: `shared/src/vapteke_shared/process/settings.py` and `settings.py` of each service.

## Which process needs what

The commands `customers-api offsets reset`, `customers-api events republish` and `favorites-api offsets reset` need
the variables of "Postgres". `legacy-importer check` needs those of "vAptekeSync", `legacy-importer doctor` also those
of "Kafka".
The commands `customers-api token` and `favorites-api token` need those of "Tokens and callers".
"""

_METRICS = """# Metrics

<!-- `make contracts` writes this page from the code. -->

Every `serve` and `work` answers `GET /metrics` on `METRICS_HOST` and `METRICS_PORT`, in the format of Prometheus.
A process shows every metric of its service: one that the process does not use stays at 0, or has no line.
Each process also shows the usual `python_…` and `process_…` metrics, such as `process_resident_memory_bytes`.
What to watch and when to raise an alert: [operate.md](operate.md#metrics-and-alerts).
"""

_METRIC_SECTIONS = {
    "vapteke_shared": "Of several services",
    "customers_api": "Of customers-api",
    "favorites_api": "Of favorites-api",
    "legacy_importer": "Of legacy-importer",
}
"""By package. A metric that several packages hold is listed with the first."""


def configuration() -> str:
    """The text of `docs/configuration.md`."""
    sections = [_matrix(), *map(_group, GROUPS)]
    return "\n".join([_CONFIGURATION, *sections])


def _matrix() -> str:
    heads = [f"`{process}`" for process in PROCESSES]
    rows = [
        f"| {_link(group)} | {' | '.join('yes' if _uses(kind, group) else '' for kind in PROCESSES.values())} |"
        for group in GROUPS
    ]
    return "\n".join([f"| variables | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|", *rows, ""])


def _link(group: Group) -> str:
    anchor = "".join(c for c in group.title.lower() if c.isalnum() or c in " -").replace(" ", "-")
    return f"[{group.title}](#{anchor})"


def _uses(kind: type[Settings], group: Group) -> bool:
    return all(issubclass(kind, needed) for needed in group.kinds)


def _group(group: Group) -> str:
    lines = [f"## {group.title}", "", *([group.note, ""] if group.note else [])]
    rows = [_row(name, field) for kind in group.kinds for name, field in _own_fields(kind)]
    return "\n".join([*lines, "| variable | meaning | default | values |", "|---|---|---|---|", *rows, ""])


def _own_fields(kind: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    inherited = {name for parent in kind.__mro__[1:] for name in getattr(parent, "model_fields", {})}
    return ((name, field) for name, field in kind.model_fields.items() if name not in inherited)


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name.upper()}` | {field.description} | {_default(field)} | {_values(field)} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, BaseModel):
        return f"`{field.default.model_dump_json()}`"
    if field.default is None or field.default in ("", []):
        return ""
    if isinstance(field.default, list):
        return f"`{','.join(map(str, field.default))}`"
    return f"`{_written(field.default)}`"


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "`true`, `false`"
    choices = [choice for choice in _literals(field.annotation) if choice is not None]
    return ", ".join(f"`{choice}`" for choice in choices) if choices else _bounds(field.metadata)


def _literals(annotation: Any) -> Iterable[Any]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return [choice for part in get_args(annotation) for choice in _literals(part)]


def _bounds(metadata: Iterable[object]) -> str:
    texts = []
    for bound in metadata:
        if isinstance(bound, Ge):
            texts.append(f"at least {bound.ge}")
        elif isinstance(bound, Gt):
            texts.append(f"above {bound.gt}")
        elif isinstance(bound, Le):
            texts.append(f"at most {bound.le:,}")
        elif isinstance(bound, Lt):
            texts.append(f"below {bound.lt:,}")
    return ", ".join(texts)


def metrics() -> str:
    """The text of `docs/metrics.md`."""
    sections, shown = [_METRICS], set[str]()
    for package, title in _METRIC_SECTIONS.items():
        found = {name: metric for name, metric in _metrics_of(package) if name not in shown}
        shown |= set(found)
        rows = [_metric_row(name, found[name]) for name in sorted(found)]
        sections.append(
            "\n".join([f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|", *rows, ""])
        )
    return "\n".join(sections)


def _metrics_of(package: str) -> Iterator[tuple[str, MetricWrapperBase]]:
    """Those that a module of the package holds, by the name that /metrics shows."""
    modules = [module for name, module in list(sys.modules.items()) if name.split(".")[0] == package]
    for value in (value for module in modules for value in vars(module).values()):
        if isinstance(value, MetricWrapperBase):
            [family] = value.describe()
            yield family.name + ("_total" if family.type == "counter" else ""), value


def _metric_row(name: str, metric: MetricWrapperBase) -> str:
    [family] = metric.describe()
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"

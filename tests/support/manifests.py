"""What holds for the containers of docker-compose.yml and of Kubernetes alike."""

import os
import re
from collections.abc import Mapping

import pytest
from customers_api.settings import ServeSettings
from customers_api.settings import WorkSettings as CustomersWorkSettings
from legacy_importer.settings import WorkSettings as ImporterSettings
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.process import settings
from vapteke_shared.process.settings import PostgresOwnerSettings, Settings

PROCESSES: dict[tuple[str, ...], type[Settings]] = {
    ("customers-api", "serve"): ServeSettings,
    ("customers-api", "work"): CustomersWorkSettings,
    ("customers-api", "migrate"): PostgresOwnerSettings,
    ("favorites-api", "serve"): settings.ServeSettings,
    ("favorites-api", "work"): settings.WorkSettings,
    ("favorites-api", "migrate"): PostgresOwnerSettings,
    ("legacy-importer", "work"): ImporterSettings,
    ("vapteke-topics",): TopicsSettings,
}
SECRET = "0123456789abcdef0123456789abcdef"
"""Long enough for each of them."""
_VERSION = re.compile(r":v?\d[\w.-]*$|@sha256:[0-9a-f]{64}$")
_BUILT_HERE = re.compile(r"vaptekecustomers/[a-z-]+:dev")


def variables(kind: type[Settings]) -> set[str]:
    return {name.upper() for name in kind.model_fields}


def loaded(kind: type[Settings], given: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a process that finds nothing else in its environment. SystemExit: it would not start."""
    with monkeypatch.context() as environment:
        for variable in list(os.environ):
            environment.delenv(variable)
        for variable, value in given.items():
            environment.setenv(variable, value)
        return settings.load(kind, _env_file=None)


def is_pinned(image: str) -> bool:
    """It has a version or a digest, or is built from this tree."""
    return bool(_VERSION.search(image) or _BUILT_HERE.fullmatch(image))

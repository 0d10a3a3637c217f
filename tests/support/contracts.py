"""The files that tell others what to count on, made from the code; `make contracts` writes them anew."""

import json
from pathlib import Path
from typing import Any, cast

import asyncpg
import generated_pages
import generated_sections
from customers_api import app as customers
from customers_api.settings import ServeSettings as CustomersSettings
from fastapi import FastAPI
from favorites_api import app as favorites
from tokens_for import SECRET_KEY
from vapteke_shared.contract import asyncapi, json_schemas
from vapteke_shared.process.health import Health
from vapteke_shared.process.settings import ServeSettings

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "shared" / "schemas"
RULE = "What is incompatible needs a new version of the topic: json_schemas.py has the rule."


def apps(**settings: Any) -> dict[str, FastAPI]:
    """Every service that answers over HTTP, without a database."""
    postgres = {f"postgres_{name}": "none" for name in ("host", "db", "user", "password")}
    settings = {"secret_key": SECRET_KEY, **settings}
    pool = cast(asyncpg.Pool, None)
    return {
        "customers-api": customers.create_app(CustomersSettings(**postgres, **settings), pool, Health()),
        "favorites-api": favorites.create_app(ServeSettings(**postgres, **settings), pool, Health()),
    }


def files() -> dict[Path, str]:
    """What stands in each file."""
    services = ROOT / "services"
    documents: dict[Path, Any] = {SCHEMAS / name: schema for name, schema in json_schemas.published().items()}
    openapi = {services / name / "openapi.json": app.openapi() for name, app in apps().items()}
    documents |= openapi
    documents |= {services / name / "asyncapi.json": asyncapi.document(name) for name in apps()}
    texts = {path: json.dumps(each, ensure_ascii=False, indent=2) + "\n" for path, each in documents.items()}
    docs = ROOT / "docs"
    return {
        **texts,
        docs / "configuration.md": generated_pages.configuration(),
        docs / "metrics.md": generated_pages.metrics(),
        **generated_sections.files(openapi.values()),
    }


def faults(name: str, old: json_schemas.Schema) -> list[str]:
    """What a consumer of an earlier content of the file could not read."""
    now = json_schemas.published().get(name)
    if now is None:
        return [f"{name}: there is no such event any more, but old ones are about"]
    return [f"{name}: {fault}" for fault in json_schemas.incompatibilities(json_schemas.opened(old), now)]


def check(folder: Path) -> None:
    """Raises SystemExit when a consumer of the folder's schemas could not read today's events."""
    found = [
        fault for path in sorted(folder.glob("*.json")) for fault in faults(path.name, json.loads(path.read_text()))
    ]
    if found:
        raise SystemExit("\n".join([*found, RULE]))


def main() -> None:
    check(SCHEMAS)
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()

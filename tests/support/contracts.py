"""The files that tell others what to count on, made from the code; `make contracts` writes them anew."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import asyncpg
from customers_api import app as customers
from customers_api.settings import ServeSettings as CustomersSettings
from fastapi import FastAPI
from favorites_api import app as favorites
from favorites_api.settings import ServeSettings as FavoritesSettings
from tokens_for import SECRET_KEY
from vapteke_shared import asyncapi, schemas
from vapteke_shared.health import Health

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "shared" / "schemas"


def apps(**settings: Any) -> dict[str, FastAPI]:
    """Every service that answers over HTTP, without a database."""
    postgres = {f"postgres_{name}": "none" for name in ("host", "db", "user", "password")}
    settings = {"secret_key": SECRET_KEY, **settings}
    pool = cast(asyncpg.Pool, None)
    return {
        "customers-api": customers.create_app(CustomersSettings(**postgres, **settings), pool, Health()),
        "favorites-api": favorites.create_app(FavoritesSettings(**settings), Health()),
    }


def files() -> dict[Path, str]:
    """What stands in each file."""
    services = ROOT / "services"
    documents: dict[Path, Any] = {SCHEMAS / name: schema for name, schema in schemas.published().items()}
    documents |= {services / name / "openapi.json": app.openapi() for name, app in apps().items()}
    documents[services / "customers-api" / "asyncapi.json"] = asyncapi.document("customers-api")
    return {path: json.dumps(each, ensure_ascii=False, indent=2) + "\n" for path, each in documents.items()}


def incompatibilities() -> Iterator[str]:
    """What consumers of the committed schemas could not read."""
    now = schemas.published()
    for path in sorted(SCHEMAS.glob("*.json")):
        if path.name in now:
            old = json.loads(path.read_text())
            yield from (f"{path.name}: {fault}" for fault in schemas.incompatibilities(old, now[path.name]))
        else:
            yield f"{path.name}: no such event any more, but old ones are about"


def main() -> None:
    faults = list(incompatibilities())
    if faults:
        raise SystemExit(
            "\n".join([*faults, "Incompatible: it needs a new version of the topic (schemas.py has the rule)"])
        )
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()

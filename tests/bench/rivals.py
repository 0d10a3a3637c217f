"""What the REST service is measured against, each a process like ours: `python rivals.py bare PORT`.

`bare` is the floor: an ASGI function over asyncpg and orjson, without a framework, authentication, validation or
events; it takes the count of the list from where ours does. `barest` also takes its connections back as they are, as
ours does. `idiom` is SQLModel as its tutorial has it: table models with relationships, a session per request and
response models; with asyncpg, and the relationships in one query.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date, datetime
from functools import partial
from typing import Annotated, Any, ClassVar
from urllib.parse import parse_qs

import asyncpg
import orjson
from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import AliasPath, BaseModel, ConfigDict
from pydantic import Field as AnswerField
from sqlalchemy import URL, DateTime, MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, Relationship, SQLModel, col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.types import Receive, Scope, Send
from vapteke_shared.process import http_server, lifecycle
from vapteke_shared.process.settings import PostgresSettings

CONNECTIONS = 10  # as many as ours
App = Callable[..., Awaitable[None]]
_PATH = "/rest/v1/customers/"
_SESSION = {"search_path": "customers", "timezone": "UTC"}

_PERSON = "f.name AS firstname, c.lastname, c.email, c.birthday"
_JOINED = "LEFT JOIN phones p ON p.id = c.phone_id LEFT JOIN firstnames f ON f.id = c.firstname_id"
_ONE = f"""
SELECT c.id, p.digits AS phone, {_PERSON}, c.gender, c.city_id, c.last_auth_at
FROM customers c {_JOINED} WHERE c.id = $1 AND c.deleted_at IS NULL
"""
_PAGE = f"""
SELECT c.id, p.id AS phone_id, p.code, p.number, {_PERSON}, (SELECT sum(living)::bigint FROM customer_counts) AS count
FROM (SELECT id FROM customers WHERE deleted_at IS NULL ORDER BY id LIMIT $1 OFFSET $2) page
JOIN customers c ON c.id = page.id {_JOINED} ORDER BY c.id
"""
_CREATE = """
WITH new_phone AS (INSERT INTO phones (code, number) VALUES ($1, $2) RETURNING id),
new_firstname AS (INSERT INTO firstnames (name) VALUES ($3) ON CONFLICT DO NOTHING RETURNING id)
INSERT INTO customers (
    phone_id, phone_from, version, firstname_id, lastname, email, birthday, gender, city_id, last_auth_at
)
SELECT
    new_phone.id, 'api', 1,
    coalesce((SELECT id FROM new_firstname), (SELECT id FROM firstnames WHERE name = $3)), $4, $5, $6, $7, $8, $9
FROM new_phone RETURNING id
"""


def _bare(pool: asyncpg.Pool) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path, status = scope["path"], 200
        if scope["method"] == "POST":
            body, status = await _created(pool, await receive()), 201
        elif path == _PATH:
            body = await _listed(pool, scope["query_string"])
        else:
            row = await pool.fetchrow(_ONE, int(path[len(_PATH) : -1]))
            body, status = (dict(row), 200) if row else ({}, 404)
        content = orjson.dumps(body, option=orjson.OPT_UTC_Z)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


async def _listed(pool: asyncpg.Pool, query: bytes) -> dict[str, Any]:
    asked = parse_qs(query.decode())
    rows = await pool.fetch(_PAGE, int(asked["limit"][0]), int(asked["offset"][0]))
    return {"items": [_item(row) for row in rows], "count": rows[0]["count"] if rows else 0}


def _item(row: asyncpg.Record) -> dict[str, Any]:
    person = dict(row)
    del person["count"]
    phone = {"id": person.pop("phone_id"), "code": person.pop("code"), "number": person.pop("number")}
    return {**person, "phone": phone if phone["id"] else None}


async def _created(pool: asyncpg.Pool, message: Any) -> dict[str, Any]:
    given = orjson.loads(message["body"])
    phone, birthday = given["phone"], date.fromisoformat(given["birthday"])
    rest = (given["gender"], given["city_id"], datetime.fromisoformat(given["last_auth_at"]))
    values = (phone[:1], phone[1:], given["firstname"], given["lastname"], given["email"], birthday, *rest)
    return {"id": await pool.fetchval(_CREATE, *values), **given}


class Table(SQLModel):
    metadata: ClassVar[MetaData] = MetaData()


class Phone(Table, table=True):
    __tablename__ = "phones"

    id: int | None = Field(default=None, primary_key=True)
    code: str
    number: str

    @property
    def digits(self) -> str:
        return self.code + self.number


class Firstname(Table, table=True):
    __tablename__ = "firstnames"

    id: int | None = Field(default=None, primary_key=True)
    name: str


class Customer(Table, table=True):
    __tablename__ = "customers"

    id: int | None = Field(default=None, primary_key=True)
    phone_id: int | None = Field(default=None, foreign_key="phones.id")
    phone_from: str | None = "api"
    firstname_id: int | None = Field(default=None, foreign_key="firstnames.id")
    lastname: str | None = None
    email: str | None = None
    birthday: date | None = None
    gender: str | None = None
    city_id: int | None = None
    last_auth_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    version: int = 1
    deleted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    phone: Phone | None = Relationship(sa_relationship_kwargs={"lazy": "joined"})
    firstname: Firstname | None = Relationship(sa_relationship_kwargs={"lazy": "joined"})


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class PhonePublic(Answer):
    id: int
    code: str
    number: str


class CustomerItem(Answer):
    id: int
    phone: PhonePublic | None
    firstname: str | None = AnswerField(None, validation_alias=AliasPath("firstname", "name"))
    lastname: str | None
    email: str | None
    birthday: date | None


class CustomerList(Answer):
    items: list[CustomerItem]
    count: int


class CustomerPublic(Answer):
    id: int
    phone: str | None = AnswerField(None, validation_alias=AliasPath("phone", "digits"))
    firstname: str | None = AnswerField(None, validation_alias=AliasPath("firstname", "name"))
    lastname: str | None
    email: str | None
    birthday: date | None
    gender: str | None
    city_id: int | None
    last_auth_at: datetime | None


class CustomerCreate(BaseModel):
    phone: str
    firstname: str
    lastname: str | None = None
    email: str | None = None
    birthday: date | None = None
    gender: str | None = None
    city_id: int | None = None
    last_auth_at: datetime | None = None


def _idiom(url: URL) -> FastAPI:
    app = FastAPI()
    engine = create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0, connect_args={"server_settings": _SESSION})

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with AsyncSession(engine) as session:
            yield session

    Session = Annotated[AsyncSession, Depends(get_session)]  # noqa: N806

    @app.get(_PATH, response_model=CustomerList)
    async def list_customers(
        session: Session, limit: Annotated[int, Query(le=1000)] = 50, offset: int = 0
    ) -> dict[str, Any]:
        living = col(Customer.deleted_at).is_(None)
        page = select(Customer).where(living).order_by(col(Customer.id)).offset(offset).limit(limit)
        count = await session.exec(select(func.count()).select_from(Customer).where(living))
        return {"items": (await session.exec(page)).all(), "count": count.one()}

    @app.get(_PATH + "{customer_id}/", response_model=CustomerPublic)
    async def get_customer(session: Session, customer_id: int) -> Customer:
        customer = await session.get(Customer, customer_id)
        if customer is None or customer.deleted_at is not None:
            raise HTTPException(404, "Customer not found")
        return customer

    @app.post(_PATH, response_model=CustomerPublic, status_code=201)
    async def create_customer(session: Session, body: CustomerCreate) -> Customer:
        known = await session.exec(select(Firstname).where(Firstname.name == body.firstname))
        customer = Customer(**body.model_dump(exclude={"phone", "firstname"}))
        customer.firstname = known.first() or Firstname(name=body.firstname)
        customer.phone = Phone(code=body.phone[:1], number=body.phone[1:])
        session.add(customer)
        await session.commit()
        await session.refresh(customer)
        return customer

    return app


@asynccontextmanager
async def _bare_app(settings: PostgresSettings, **options: Any) -> AsyncIterator[App]:
    pool = asyncpg.create_pool(
        host=settings.postgres_host,
        port=settings.postgres_port,
        database=settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
        server_settings=_SESSION,
        min_size=0,
        max_size=CONNECTIONS,
        **options,
    )
    async with pool:
        yield _bare(pool)


async def _leave_as_is(_: asyncpg.Connection) -> None:
    pass


@asynccontextmanager
async def _idiom_app(settings: PostgresSettings) -> AsyncIterator[App]:
    yield _idiom(
        URL.create(
            "postgresql+asyncpg",
            host=settings.postgres_host[0],
            port=settings.postgres_port[0],
            database=settings.postgres_db,
            username=settings.postgres_user,
            password=settings.postgres_password.get_secret_value(),
        )
    )


_RIVALS: Mapping[str, Callable[[PostgresSettings], AbstractAsyncContextManager[App]]] = {
    "bare": _bare_app,
    "barest": partial(_bare_app, reset=_leave_as_is),
    "idiom": _idiom_app,
}


async def _main(settings: PostgresSettings, stopping: asyncio.Event) -> None:
    kind, port = sys.argv[1:]
    async with _RIVALS[kind](settings) as app, http_server.served(app, "127.0.0.1", int(port)):
        await stopping.wait()


if __name__ == "__main__":
    lifecycle.run(PostgresSettings, _main)

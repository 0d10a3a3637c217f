"""Lists of customers: filters, paging, counts, following changes, and the lookup."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, cast
from unicodedata import normalize
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from customers_api.app import create_app
from customers_api.customers import queries
from customers_api.customers.list_parameters import CustomerQuery
from customers_api.settings import ServeSettings, WorkSettings
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from tokens_for import SECRET_KEY, bearer, header
from vapteke_shared.http.access import tokens
from vapteke_shared.http.lists import query_parameters
from vapteke_shared.process.health import Health

URL = "/rest/v1/customers/"
Ids = dict[str, int]


async def add(
    connection: asyncpg.Pool | asyncpg.Connection,
    digits: str | None = None,
    firstname: str | None = None,
    **fields: Any,
) -> int:
    """A customer; the phone's code is 7."""
    number = digits and digits.removeprefix("7")
    phone_id = number and await connection.fetchval(
        "INSERT INTO phones (code, number) VALUES ('7', $1) RETURNING id", number
    )
    firstname_id = firstname and await connection.fetchval(
        "INSERT INTO firstnames (name) VALUES ($1) ON CONFLICT (name) DO UPDATE SET name = $1 RETURNING id", firstname
    )
    row = {"phone_id": phone_id, "firstname_id": firstname_id, "version": 1, **fields}
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    statement = f"INSERT INTO customers ({', '.join(row)}) VALUES ({places}) RETURNING id"
    return await connection.fetchval(statement, *row.values())  # type: ignore[no-any-return]


@pytest.fixture
async def nowhere() -> AsyncIterator[httpx.AsyncClient]:
    """Of a service without a database: what is refused does not get as far."""
    postgres: dict[str, Any] = {f"postgres_{name}": "none" for name in ("host", "db", "user", "password")}
    app = create_app(ServeSettings(**postgres, secret_key=SECRET_KEY), cast(asyncpg.Pool, None), Health())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer()) as client:
        yield client


@pytest.fixture
async def ids(pool: asyncpg.Pool) -> Ids:
    """Five customers, one of them deleted; by a word for each."""
    born = date(1980, 12, 21)
    return {
        "viktor": await add(
            *(pool, "79025163111", "Виктор"),
            lastname="Иванов",
            email="Ving@mail.ru",
            birthday=born,
            gender="M",
            city_id=0,
        ),
        "vika": await add(
            *(pool, "79025163112", "Виктория"),
            lastname="Ёлкина",
            email="vika@mail.ru",
            birthday=date(1981, 1, 1),
            gender="F",
        ),
        "percent": await add(pool, "79025163113", "100%", lastname="A_Z", email="a_z@mail.ru", gender="M", city_id=7),
        "gone": await add(
            *(pool, "79025163114", "Виктор"),
            lastname="Иванова",
            email="gone@mail.ru",
            city_id=7,
            deleted_at=datetime.now(UTC),
        ),
        "phoneless": await add(pool, None, "ольга", lastname="ИВАНОВА", birthday=date(1980, 12, 22), city_id=7),
    }


async def asked(client: httpx.AsyncClient, query: str) -> tuple[list[int], int | None]:
    """The ids of the page, and the count."""
    answer = await client.get(f"{URL}?{query}")
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]], answer.json().get("count")


MEETS = {
    "": ["viktor", "vika", "percent", "phoneless"],
    "include_deleted=true": ["viktor", "vika", "percent", "gone", "phoneless"],
    "include_deleted=false": ["viktor", "vika", "percent", "phoneless"],
    "phone=79025163111": ["viktor"],
    f"phone={quote('8 (902) 516-31-11')}": ["viktor"],
    "phone=+7 902 516 31 11": ["viktor"],
    "phone=79025163114": [],
    "phone=79025163114&include_deleted=true": ["gone"],
    "phone=79025163111&include_deleted=true": ["viktor"],
    "phone=79000000000": [],
    "email=vING@MAIL.ru": ["viktor"],
    "email=ving@mail": [],
    "email=a%25z@mail.ru": [],
    "email=gone@mail.ru": [],
    "email=gone@mail.ru&include_deleted=true": ["gone"],
    "firstname=вИКТ": ["viktor", "vika"],
    "firstname=Виктори": ["vika"],
    "firstname=ОЛЬГА": ["phoneless"],
    "firstname=икт": [],
    "firstname=100%25": ["percent"],
    "firstname=%25": [],
    "firstname=_": [],
    "firstname=вИКТ&include_deleted=true": ["viktor", "vika", "gone"],
    "lastname=иванов": ["viktor", "phoneless"],
    "lastname=ИваноВА": ["phoneless"],
    "lastname=ёл": ["vika"],
    "lastname=a_": ["percent"],
    "lastname=aZ": [],
    "lastname=иванов&include_deleted=true": ["viktor", "gone", "phoneless"],
    "city_id=7": ["percent", "phoneless"],
    "city_id=0": ["viktor"],
    "city_id=7&include_deleted=true": ["percent", "gone", "phoneless"],
    "gender=M": ["viktor", "percent"],
    "gender=F": ["vika"],
    "birthday_from=1980-12-22": ["vika", "phoneless"],
    "birthday_to=1980-12-22": ["viktor", "phoneless"],
    "birthday_from=1980-12-21&birthday_to=1980-12-21": ["viktor"],
    "birthday_from=1981-12-21&birthday_to=1980-12-21": [],
    "lastname=иванов&firstname=викт&gender=M&city_id=0&birthday_from=1980-01-01": ["viktor"],
    "lastname=иванов&gender=F": [],
    "phone=79025163111&email=ving@mail.ru&include_deleted=true": ["viktor"],
    "phone=79025163111&email=vika@mail.ru": [],
    "updated_since=2000-01-01T00:00:00Z&city_id=7": ["percent", "phoneless"],
    "updated_since=2000-01-01T00:00:00Z&city_id=7&include_deleted=true": ["percent", "gone", "phoneless"],
    "updated_since=2999-01-01T00:00:00": [],
}


async def test_a_filter_shows_those_who_meet_it(client: httpx.AsyncClient, ids: Ids) -> None:
    found = {query: await asked(client, query) for query in MEETS}

    assert found == {query: ([ids[name] for name in names], len(names)) for query, names in MEETS.items()}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("asked_in", ["NFC", "NFD"])
async def test_a_filter_finds_a_text_whatever_its_form(client: httpx.AsyncClient, form: str, asked_in: str) -> None:
    person = {"firstname": "\u200bАндрей ", "lastname": "Королёв", "email": "й@почта.рф"}
    given = {name: normalize(cast(Any, form), text) for name, text in person.items()}
    made = await client.post(URL, json={"phone": "79025163111", **given})

    for name, text in {**person, "firstname": " анДРЕЙ\u200e", "lastname": "королё"}.items():
        query = f"{name}={quote(normalize(cast(Any, asked_in), text))}"
        assert await asked(client, query) == ([made.json()["id"]], 1), query

    kept = {name: made.json()[name] for name in person}
    assert kept == {"firstname": "Андрей", "lastname": "Королёв", "email": "й@почта.рф"}


@pytest.mark.parametrize("email", ["ivan@xn--80a1acny.xn--p1ai", "Ivan@ПОЧТА.РФ", "ivan@почта.рф"])
@pytest.mark.parametrize("asked_as", ["ivan@xn--80a1acny.xn--p1ai", "IVAN@ПОЧТА.РФ", "ivan@почта.рф"])
async def test_a_filter_finds_an_international_address_however_it_is_written(
    client: httpx.AsyncClient, email: str, asked_as: str
) -> None:
    made = await client.post(URL, json={"phone": "79025163111", "email": email})

    assert await asked(client, f"email={quote(asked_as)}") == ([made.json()["id"]], 1)


async def test_ids_can_be_asked_for_one_by_one(client: httpx.AsyncClient, ids: Ids) -> None:
    some = "&".join(f"id={ids[name]}" for name in ("percent", "viktor", "gone", "viktor"))

    assert await asked(client, some) == ([ids["viktor"], ids["percent"]], 2)
    assert await asked(client, f"{some}&city_id=7&id=999999") == ([ids["percent"]], 1)
    assert await asked(client, f"{some}&city_id=7&include_deleted=true") == ([ids["percent"], ids["gone"]], 2)
    assert await asked(client, f"{some}&updated_since=2000-01-01T00:00:00Z&limit=1") == ([ids["viktor"]], 2)


async def test_what_is_added_to_an_item_is_asked_for(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678_912, tzinfo=UTC)
    one = await add(pool, lastname="Иванов", updated_at=at, deleted_at=at)

    plain = await client.get(f"{URL}?include_deleted=false")
    both = await client.get(f"{URL}?include_deleted=true&updated_since=2026-01-02T06:04:05.678%2B03:00")

    nothing = {"phone": None, "firstname": None, "lastname": "Иванов", "email": None, "birthday": None}
    instants = {"updated_at": "2026-01-02T03:04:05.678Z", "deleted_at": "2026-01-02T03:04:05.678Z"}
    assert plain.json() == {"items": [], "count": 0}
    assert both.json() == {"items": [{"id": one, **nothing, **instants}], "count": 1}


async def test_without_the_count_the_key_is_absent(client: httpx.AsyncClient, ids: Ids) -> None:
    plain, filtered = await client.get(f"{URL}?count=false"), await client.get(f"{URL}?count=false&gender=F")

    assert (list(plain.json()), list(filtered.json())) == (["items"], ["items"])
    assert [len(answer.json()["items"]) for answer in (plain, filtered)] == [4, 1]


@pytest.mark.parametrize("query", ["offset=4", "offset=9223372036854775807", "gender=F&offset=1"])
async def test_behind_the_last_customer_the_count_is_still_right(
    client: httpx.AsyncClient, ids: Ids, query: str
) -> None:
    assert await asked(client, query) == ([], 1 if "gender" in query else 4)


async def walked(client: httpx.AsyncClient, url: str) -> list[list[int]]:
    """The ids of each page, led from one to the next by `Link`."""
    pages = []
    while url:
        answer = await client.get(url)
        assert answer.status_code == 200, answer.text
        pages.append([item["id"] for item in answer.json()["items"]])
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
        url = link[1] if link else ""
    return pages


@pytest.fixture
async def many(pool: asyncpg.Pool) -> list[int]:
    statement = """
        INSERT INTO customers (version, lastname, gender)
        SELECT 1, CASE WHEN n % 3 = 0 THEN 'Ива & нов' ELSE 'Петров' END, CASE WHEN n % 2 = 0 THEN 'F' ELSE 'M' END
        FROM generate_series(1, 100) n RETURNING id
    """
    return [row["id"] for row in await pool.fetch(statement)]


@pytest.mark.parametrize("limit", [7, 50, 99, 100, 101])
async def test_links_lead_through_everybody_once(client: httpx.AsyncClient, many: list[int], limit: int) -> None:
    pages = await walked(client, f"{URL}?limit={limit}")

    assert list(chain(*pages)) == many
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)


async def test_a_link_keeps_limit_and_filters(client: httpx.AsyncClient, many: list[int]) -> None:
    query = f"lastname={quote('ива & Н')}&gender=F&id={'&id='.join(map(str, many))}&limit=5&count=false"

    pages = await walked(client, f"{URL}?{query}")

    assert list(chain(*pages)) == [customer for place, customer in enumerate(many, 1) if place % 6 == 0]
    assert [len(page) for page in pages] == [5, 5, 5, 1]


async def test_a_walk_may_begin_at_an_offset(client: httpx.AsyncClient, many: list[int]) -> None:
    assert list(chain(*await walked(client, f"{URL}?offset=30&limit=20"))) == many[30:]


async def test_a_walk_misses_nobody_when_others_come_and_go(
    client: httpx.AsyncClient, pool: asyncpg.Pool, many: list[int]
) -> None:
    first = await client.get(f"{URL}?limit=40")
    await pool.execute("UPDATE customers SET deleted_at = now() WHERE id = ANY($1)", many[20:60])
    new = await add(pool, lastname="Новый")

    link = first.headers["link"].removeprefix("<").partition(">")[0]
    rest = await walked(client, link)

    assert list(chain(*rest)) == [*many[60:], new]


async def test_a_cursor_holds_no_personal_data(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO customers (version, email) SELECT 1, 'ving@mail.ru' FROM generate_series(1, 3)")

    cursors = [await cursor_of(client, f"email={email}&limit=1") for email in ("ving@mail.ru", "VING@mail.ru")]

    assert cursors[0] != cursors[1]
    assert [len(cursor) for cursor in cursors] == [40, 40]


async def cursor_of(client: httpx.AsyncClient, query: str) -> str:
    answer = await client.get(f"{URL}?{query}")
    return re.findall(r"cursor=([^&>]+)", answer.headers["link"])[0]


async def test_a_cursor_continues_only_what_it_was_made_for(client: httpx.AsyncClient, many: list[int]) -> None:
    cursor = await cursor_of(client, "gender=F&limit=2")

    same = await client.get(f"{URL}?gender=F&limit=3&count=false&cursor={cursor}")
    others = [
        await client.get(f"{URL}?{query}&cursor={cursor}")
        for query in ("", "gender=M", "gender=F&lastname=п", "gender=F&include_deleted=true")
    ]

    assert [item["id"] for item in same.json()["items"]] == [many[5], many[7], many[9]]
    assert [(other.status_code, other.json()["errors"][0]["pointer"]) for other in others] == [
        (422, "/query/cursor")
    ] * 4
    assert "belongs to other filters" in others[0].json()["errors"][0]["detail"]


async def test_a_cursor_of_the_previous_key_continues_until_that_key_is_gone(
    client: httpx.AsyncClient, settings: WorkSettings, pool: asyncpg.Pool, many: list[int]
) -> None:
    cursor = await cursor_of(client, "limit=2")
    keys: dict[str, Any] = {
        "secret_key": "the key after it, as long as it has to be",
        "secret_key_previous": SECRET_KEY,
    }
    during = ServeSettings(**settings.model_dump(), **keys)
    afterwards = during.model_copy(update={"secret_key_previous": None})

    answers = []
    for each in (during, afterwards):
        token = tokens.issue(each, "tester", ["customers:read"], timedelta(hours=1), ["customers-api"])
        transport = httpx.ASGITransport(create_app(each, pool, Health()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=header(token)) as asking:
            answers.append(await asking.get(f"{URL}?limit=2&cursor={cursor}"))

    assert [answer.status_code for answer in answers] == [200, 422]
    assert [item["id"] for item in answers[0].json()["items"]] == many[2:4]


async def test_a_cursor_that_is_none_is_refused(client: httpx.AsyncClient, many: list[int]) -> None:
    cursor = await cursor_of(client, "limit=2")
    spoilt = [
        "",
        "x",
        "%00",
        "AAAA",
        "я",
        f"{cursor}x",
        f"{cursor}====",
        cursor[:-1],
        cursor[::-1],
        f"A{cursor[1:-1]}B",
    ]

    answers = [await client.get(f"{URL}?cursor={text}") for text in spoilt]

    assert {(answer.status_code, answer.json()["errors"][0]["pointer"]) for answer in answers} == {
        (422, "/query/cursor")
    }


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=1001", "/query/limit"),
        ("limit=5.0", "/query/limit"),
        ("limit=1_0", "/query/limit"),
        ("limit=+5", "/query/limit"),
        ("limit=٣", "/query/limit"),
        ("limit=", "/query/limit"),
        ("limit", "/query/limit"),
        ("limit=5&limit=5", "/query/limit"),
        ("offset=-1", "/query/offset"),
        ("offset=9223372036854775808", "/query/offset"),
        ("offset=99999999999999999999999", "/query/offset"),
        ("offset=0&cursor=AAAA", "/query/cursor"),
        ("count=yes", "/query/count"),
        ("count=1", "/query/count"),
        ("page=2", "/query/page"),
        ("Limit=2", "/query/Limit"),
        ("phone=12", "/query/phone"),
        ("phone=letters", "/query/phone"),
        ("phone=%00", "/query/phone"),
        ("phone=79025163111&phone=79025163111", "/query/phone"),
        ("email=", "/query/email"),
        ("email=a%00b", "/query/email"),
        (f"email={'a' * 255}", "/query/email"),
        ("firstname=%00", "/query/firstname"),
        (f"firstname={'a' * 101}", "/query/firstname"),
        ("lastname=", "/query/lastname"),
        ("lastname=a%00", "/query/lastname"),
        ("lastname=%ED%A0%80", "/query"),
        ("lastname=%FF", "/query"),
        ("lastname=%D0", "/query"),
        ("%FF=1", "/query"),
        ("city_id=-1", "/query/city_id"),
        ("city_id=9223372036854775808", "/query/city_id"),
        ("gender=m", "/query/gender"),
        ("gender=null", "/query/gender"),
        ("birthday_from=2023-02-30", "/query/birthday_from"),
        ("birthday_from=1700000000", "/query/birthday_from"),
        ("birthday_to=2023-12-21T00:00:00", "/query/birthday_to"),
        ("id=0", "/query/id/0"),
        ("id=1&id=x", "/query/id/1"),
        ("id=1,2", "/query/id/0"),
        ("&".join(f"id={number}" for number in range(1, 1002)), "/query/id"),
        ("updated_since=yesterday", "/query/updated_since"),
        ("updated_since=1700000000", "/query/updated_since"),
        ("updated_since=2023-12-21", "/query/updated_since"),
        ("updated_since=9999-12-31T23:59:59-01:00", "/query/updated_since"),
        ("include_deleted=True", "/query/include_deleted"),
    ],
)
async def test_what_cannot_be_understood_is_refused_by_name(
    nowhere: httpx.AsyncClient, query: str, pointer: str
) -> None:
    answer = await nowhere.get(f"{URL}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_bytes_that_are_not_percent_encoded_are_refused() -> None:
    request = Request({"type": "http", "query_string": "lastname=И".encode()})

    with pytest.raises(RequestValidationError) as refusal:
        query_parameters.read(request, CustomerQuery)

    assert refusal.value.errors()[0]["loc"] == ("query",)


async def test_a_plus_that_was_not_encoded_is_one(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    one = await add(pool, updated_at=datetime(2026, 1, 2, tzinfo=UTC))

    found = [await asked(client, f"updated_since=2026-01-02T0{hour}:00:00+03:00") for hour in (3, 4)]

    assert found == [([one], 1), ([], 0)]


async def test_following_changes_loses_none_that_is_committed_late(
    client: httpx.AsyncClient, pool: asyncpg.Pool, many: list[int]
) -> None:
    async with pool.acquire() as writer:
        writing = writer.transaction()
        await writing.start()
        await writer.execute("UPDATE customers SET updated_at = now() WHERE id = $1", many[0])
        await asyncio.sleep(1.1)
        poll = await client.get(f"{URL}?updated_since=2000-01-01T00:00:00Z")
        await pool.execute("UPDATE customers SET updated_at = now() - interval '1 hour' WHERE id <> $1", many[0])
        await writing.commit()

    found, _ = await asked(client, f"updated_since={poll.headers['updated-until']}")

    assert found == [many[0]]


async def test_every_page_says_what_the_first_one_saw(client: httpx.AsyncClient, many: list[int]) -> None:
    first = await client.get(f"{URL}?updated_since=2000-01-01T00:00:00Z&limit=60")
    await asyncio.sleep(0.01)
    second = await client.get(first.headers["link"].removeprefix("<").partition(">")[0])

    until = datetime.fromisoformat(first.headers["updated-until"])
    assert second.headers["updated-until"] == first.headers["updated-until"]
    assert timedelta() < datetime.now(UTC) - until < timedelta(seconds=30)
    assert "updated-until" not in (await client.get(URL)).headers


async def test_the_counts_are_those_of_the_table(pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO customers (version, deleted_at) SELECT 1, NULL FROM generate_series(1, 10)")
    await pool.execute("INSERT INTO customers (version, deleted_at) SELECT 1, now() FROM generate_series(1, 5)")
    await pool.execute("UPDATE customers SET deleted_at = now(), version = 2 WHERE id % 5 = 0")
    await pool.execute("UPDATE customers SET deleted_at = NULL WHERE id % 4 = 0")
    await pool.execute("UPDATE customers SET deleted_at = now() WHERE deleted_at IS NOT NULL")
    await pool.execute("UPDATE customers SET version = 3")

    counted, true = await pool.fetchrow(_COUNTED), await pool.fetchrow(_TRUE)

    assert tuple(counted) == tuple(true)


_COUNTED = "SELECT coalesce(sum(living), 0)::int, coalesce(sum(deleted), 0)::int FROM customer_counts"
_TRUE = "SELECT count(*) FILTER (WHERE deleted_at IS NULL)::int, count(deleted_at)::int FROM customers"


async def test_the_owner_may_delete_rows_and_empty_the_table(
    pool: asyncpg.Pool, owner: asyncpg.Connection, many: list[int]
) -> None:
    await owner.execute("DELETE FROM customers WHERE id % 3 = 0")
    after_delete = tuple(await pool.fetchrow(_COUNTED)), tuple(await pool.fetchrow(_TRUE))
    await owner.execute("TRUNCATE customers, legacy_customers")

    assert after_delete[0] == after_delete[1]
    assert tuple(await pool.fetchrow(_COUNTED)) == (0, 0)
    await add(pool)
    assert tuple(await pool.fetchrow(_COUNTED)) == (1, 0)


@pytest.fixture
async def owner(pool: asyncpg.Pool, postgres_server: Any, database_name: str) -> AsyncIterator[asyncpg.Connection]:
    dsn = postgres_server.dsn_of(database_name, "customers_owner", "owner")
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "customers"})
    yield connection
    await connection.close()


_LIVING_COUNTED = "SELECT coalesce(sum(living), 0) FROM customer_counts"
_LIVING = "SELECT count(*) FROM customers WHERE deleted_at IS NULL"


async def test_nobody_ever_sees_a_wrong_count(pool: asyncpg.Pool) -> None:
    done = asyncio.Event()

    async def write(seed: int) -> None:
        for turn in range(60):
            await pool.execute("INSERT INTO customers (version) SELECT 1 FROM generate_series(1, $1)", turn % 4)
            change = "UPDATE customers SET deleted_at = CASE WHEN deleted_at IS NULL THEN now() END WHERE id % 7 = $1"
            if turn % 5 == 0:
                await pool.execute(change, seed)

    async def fold() -> None:
        while not done.is_set():
            async with pool.acquire() as connection:
                await queries.fold_counts(connection)

    async def read() -> int:
        looked = 0
        while not done.is_set():
            counted, true = await pool.fetchrow(f"SELECT ({_LIVING_COUNTED}), ({_LIVING})")
            assert counted == true
            looked += 1
        return looked

    others = [asyncio.create_task(each) for each in (fold(), fold(), read(), read())]
    await asyncio.gather(*(write(seed) for seed in range(4)))
    done.set()
    _, _, *looked = await asyncio.gather(*others)

    assert min(looked) > 20
    assert tuple(await pool.fetchrow(_COUNTED)) == tuple(await pool.fetchrow(_TRUE))
    assert await pool.fetchval("SELECT count(*) FROM customer_counts") < 200


async def test_the_lookup_finds_by_phones(client: httpx.AsyncClient, ids: Ids) -> None:
    phones = ["79025163112", "8 (902) 516-31-11", "+7 902 516 31 11", "79025163114", "79000000000", "79000000000"]

    answer = await client.post(f"{URL}lookup/", json={"phones": phones})

    viktors = {"firstname": "Виктор", "lastname": "Иванов", "email": "Ving@mail.ru", "birthday": "1980-12-21"}
    rest = {"gender": "M", "city_id": 0, "last_auth_at": None}
    assert answer.status_code == 200
    assert answer.json()["items"][0] == {"id": ids["viktor"], "phone": "79025163111", **viktors, **rest}
    assert [item["id"] for item in answer.json()["items"]] == [ids["viktor"], ids["vika"]]
    assert answer.json()["missing"] == ["79025163114", "79000000000"]


async def test_the_lookup_finds_by_ids(client: httpx.AsyncClient, pool: asyncpg.Pool, ids: Ids) -> None:
    at = datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC)
    await pool.execute("UPDATE customers SET last_auth_at = $1 WHERE id = $2", at, ids["phoneless"])
    wanted = [999999, ids["phoneless"], ids["gone"], ids["viktor"], ids["viktor"]]

    answer = await client.post(f"{URL}lookup", json={"ids": wanted})

    assert [item["id"] for item in answer.json()["items"]] == [ids["viktor"], ids["phoneless"]]
    olgas = {"firstname": "ольга", "lastname": "ИВАНОВА", "email": None, "birthday": "1980-12-22", "gender": None}
    rest = {"city_id": 7, "last_auth_at": "2023-12-21T04:20:37.024Z"}
    assert answer.json()["items"][1] == {"id": ids["phoneless"], "phone": None, **olgas, **rest}
    assert answer.json()["missing"] == [999999, ids["gone"]]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ("{}", ["/body"]),
        ('{"phones": ["79025163111"], "ids": [1]}', ["/body"]),
        ('{"phones": null, "ids": [1]}', ["/body"]),
        ("[]", ["/body"]),
        ('{"phones": []}', ["/body/phones"]),
        ('{"phones": "79025163111"}', ["/body/phones"]),
        ('{"phones": ["79025163111", "12", "x", 79025163111]}', ["/body/phones/1", "/body/phones/2", "/body/phones/3"]),
        ('{"phones": ["\\u0000"]}', ["/body/phones/0"]),
        ('{"phones": ["\\ud800"]}', ["/body/phones/0"]),
        ('{"phones": ["79025163111"], "limit": 5}', ["/body/limit"]),
        (json.dumps({"phones": ["79025163111"] * 1001}), ["/body/phones"]),
        ('{"ids": []}', ["/body/ids"]),
        ('{"ids": [0]}', ["/body/ids/0"]),
        ('{"ids": ["1", true, null, 1.5]}', ["/body/ids/0", "/body/ids/1", "/body/ids/2", "/body/ids/3"]),
        ('{"ids": [9223372036854775808]}', ["/body/ids/0"]),
        (json.dumps({"ids": list(range(1, 1002))}), ["/body/ids"]),
    ],
)
async def test_a_lookup_that_cannot_be_understood_is_refused(
    nowhere: httpx.AsyncClient, body: str, pointers: list[str]
) -> None:
    answer = await nowhere.post(f"{URL}lookup/", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers
    assert "7902" not in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_the_lookup_is_no_customer(nowhere: httpx.AsyncClient, method: str) -> None:
    answer = await nowhere.request(method, f"{URL}lookup/")

    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")


async def test_reading_is_on_record_by_ids_alone(
    client: httpx.AsyncClient, ids: Ids, capsys: pytest.CaptureFixture[str]
) -> None:
    await client.get(f"{URL}?lastname=ёл")
    await client.post(f"{URL}lookup/", json={"phones": ["79025163111"]})

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"audit"' in line]
    assert [(line["event"], line["ids"]) for line in lines] == [
        ("customers.list", [ids["vika"]]),
        ("customers.lookup", [ids["viktor"]]),
    ]


async def test_lists_need_the_scope_to_read(nowhere: httpx.AsyncClient) -> None:
    stranger = bearer("customers:write", "imports:read")

    answers = [
        await nowhere.get(URL, headers=stranger),
        await nowhere.post(f"{URL}lookup/", json={"ids": [1]}, headers=stranger),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "insufficient_scope")] * 2

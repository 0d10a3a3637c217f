"""One customer through the REST door: the contract's examples, and what each write promises."""

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from customers_api.tables import SCHEMA
from outbox_events import events_in_outbox
from running_service import running_service
from tokens_for import bearer
from vapteke_local.servers.postgres import Postgres
from vapteke_shared.contract.events.customers import (
    CustomerCreated,
    CustomerDeleted,
    CustomerPhoneChanged,
    CustomerRestored,
    CustomerUpdated,
)

CUSTOMERS = "/rest/v1/customers/"
WHOLE = {
    "phone": "50110556645",
    "firstname": "string",
    "lastname": "string",
    "email": "user@example.com",
    "birthday": "2023-12-21",
    "gender": "M",
    "city_id": 0,
    "last_auth_at": "2023-12-21T04:20:37.024Z",
}
NOBODY = dict.fromkeys(WHOLE)


async def created(client: httpx.AsyncClient, **fields: Any) -> int:
    answer = await client.post(CUSTOMERS, json={"phone": "50110556645", **fields})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


async def test_a_customer_is_created_as_the_contract_shows(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    answer = await client.post(CUSTOMERS, json=WHOLE)

    customer = {"id": answer.json()["id"], **WHOLE}
    path = f"{CUSTOMERS}{customer['id']}/"
    assert (answer.status_code, answer.headers["location"], answer.headers["etag"]) == (201, path, '"1"')
    assert answer.json() == customer
    assert (await client.get(path)).json() == customer
    [event] = await events_in_outbox(pool)
    assert event == CustomerCreated(
        id=customer["id"],
        version=1,
        origin="api",
        changed=["phone", "firstname", "lastname", "email", "birthday", "gender", "city_id", "last_auth_at"],
        phone="50110556645",
        firstname="string",
        lastname="string",
        email="user@example.com",
        birthday=date(2023, 12, 21),
        gender="M",
        city_id=0,
        last_auth_at=datetime(2023, 12, 21, 4, 20, 37, 24_000, tzinfo=UTC),
        created_at=event.created_at,
        updated_at=event.created_at,
        deleted_at=None,
    )


async def test_the_list_shows_them_as_the_contract_does(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    customer_id = await created(client, phone="79025163111", firstname="Виктор", email="ving@mail.ru")

    answer = await client.get(CUSTOMERS, params={"limit": 10, "offset": 0})

    phone = {"id": await pool.fetchval("SELECT id FROM phones"), "code": "7", "number": "9025163111"}
    item = {"id": customer_id, "phone": phone, "firstname": "Виктор", "lastname": None, "email": "ving@mail.ru"}
    assert answer.json() == {"items": [{**item, "birthday": None}], "count": 1}


async def test_only_the_phone_is_required(client: httpx.AsyncClient) -> None:
    answer = await client.post(CUSTOMERS, json={"phone": "+7 (902) 516-31-11"})

    assert answer.json() == {**NOBODY, "id": answer.json()["id"], "phone": "79025163111"}


@pytest.mark.parametrize("phone", ["50110556645", " +5 (011) 055-66.45 "])
async def test_a_phone_that_is_taken_names_who_has_it(client: httpx.AsyncClient, phone: str) -> None:
    holder = await created(client)

    answer = await client.post(CUSTOMERS, json={"phone": phone})

    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["customer_id"]) == (409, "phone_taken", holder)
    assert "50110556645" not in answer.text


async def test_of_fifty_who_want_one_phone_one_gets_it(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    body = {"phone": "65979638297", "firstname": "Анна"}

    answers = await asyncio.gather(*(client.post(CUSTOMERS, json=body) for _ in range(50)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49
    assert await pool.fetchval("SELECT count(*) FROM customers") == 1
    assert len(await events_in_outbox(pool)) == 1


async def test_the_phone_of_a_deleted_customer_is_free(client: httpx.AsyncClient) -> None:
    await client.delete(f"{CUSTOMERS}{await created(client)}/")

    answer = await client.post(CUSTOMERS, json={"phone": "50110556645"})

    assert answer.status_code == 201


async def test_absent_fields_stay_and_null_clears(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    customer_id = await created(client, **WHOLE)

    answer = await client.patch(f"{CUSTOMERS}{customer_id}/", json={"firstname": " Анна ", "email": None})

    assert answer.json() == {**WHOLE, "id": customer_id, "firstname": "Анна", "email": None}
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    [_, event] = await events_in_outbox(pool)
    assert isinstance(event, CustomerUpdated)
    assert (event.version, event.changed, event.firstname, event.email) == (2, ["firstname", "email"], "Анна", None)


@pytest.mark.parametrize("hidden", ["\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\x01", "\x7f", "\x9b"])
async def test_what_nobody_sees_is_neither_kept_nor_looked_for(client: httpx.AsyncClient, hidden: str) -> None:
    names = {"firstname": f"Ан{hidden}на", "lastname": f"{hidden}Ива{hidden}нова", "email": f"anna{hidden}@mail.ru"}

    answer = await client.post(CUSTOMERS, json={"phone": "50110556645", **names})

    kept = {"firstname": "Анна", "lastname": "Иванова", "email": "anna@mail.ru"}
    assert answer.json().items() >= kept.items()
    for field, text in names.items():
        found = (await client.get(CUSTOMERS, params={field: text})).json()
        assert [item[field] for item in found["items"]] == [kept[field]]


async def test_a_line_break_in_a_name_is_a_blank(client: httpx.AsyncClient) -> None:
    answer = await client.post(CUSTOMERS, json={"phone": "50110556645", "firstname": "Анна\u2028Мария\n"})

    assert answer.json()["firstname"] == "Анна Мария"


async def test_no_name_covers_the_lines_around_it(client: httpx.AsyncClient) -> None:
    answer = await client.post(CUSTOMERS, json={"phone": "50110556645", "lastname": "И" + "\u0336" * 2000})

    assert answer.json()["lastname"] == "И" + "\u0336" * 8


@pytest.mark.parametrize("field", ["firstname", "lastname", "email"])
@pytest.mark.parametrize("nothing", ["", " ", "\u200b\u2060", "\u3164"])
async def test_a_text_that_shows_nothing_is_refused_as_empty(
    client: httpx.AsyncClient, field: str, nothing: str
) -> None:
    answer = await client.post(CUSTOMERS, json={"phone": "50110556645", field: nothing})

    assert answer.status_code == 422
    assert "send null to clear the field" in answer.text


async def test_a_name_is_measured_as_it_is_kept(client: httpx.AsyncClient) -> None:
    answer = await client.post(CUSTOMERS, json={"phone": "50110556645", "firstname": "\u0438\u0306" * 100})

    assert answer.json()["firstname"] == "й" * 100


@pytest.mark.parametrize(
    "body", [{}, {"firstname": "string", "city_id": 0}, {"last_auth_at": "2023-12-21T07:20:37.024+03:00"}]
)
async def test_what_is_equal_already_writes_nothing(
    client: httpx.AsyncClient, pool: asyncpg.Pool, body: dict[str, Any]
) -> None:
    customer_id = await created(client, **WHOLE)
    before = await pool.fetchrow("SELECT xmin::text, * FROM customers")

    answer = await client.patch(f"{CUSTOMERS}{customer_id}/", json=body)

    assert (answer.status_code, answer.json()) == (200, {"id": customer_id, **WHOLE})
    assert await pool.fetchrow("SELECT xmin::text, * FROM customers") == before
    assert len(await events_in_outbox(pool)) == 1


@pytest.mark.parametrize("path", ["", "phone/"])
async def test_a_phone_is_changed_alone(client: httpx.AsyncClient, pool: asyncpg.Pool, path: str) -> None:
    customer_id = await created(client)

    answer = await client.patch(f"{CUSTOMERS}{customer_id}/{path}", json={"phone": "65979638297"})

    assert (answer.status_code, answer.json()) == (200, {"success": True, "message": "The phone has been changed."})
    assert (await client.get(f"{CUSTOMERS}{customer_id}/")).json()["phone"] == "65979638297"
    [_, event] = await events_in_outbox(pool)
    assert isinstance(event, CustomerPhoneChanged)
    assert (event.version, event.changed, event.phone) == (2, ["phone"], "65979638297")


async def test_a_phone_and_a_profile_together_are_refused(client: httpx.AsyncClient) -> None:
    customer_id = await created(client)

    answer = await client.patch(f"{CUSTOMERS}{customer_id}/", json={"phone": "65979638297", "firstname": "Анна"})

    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["pointer"]) == (422, "/body")
    assert "changed by itself" in fault["detail"]


async def test_the_phone_held_already_changes_nothing(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    customer_id = await created(client)

    answer = await client.patch(f"{CUSTOMERS}{customer_id}/", json={"phone": "50110556645"})

    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert len(await events_in_outbox(pool)) == 1


async def test_the_phone_of_another_is_not_to_be_had(client: httpx.AsyncClient) -> None:
    holder, other = await created(client), await created(client, phone="65979638297")

    answer = await client.patch(f"{CUSTOMERS}{other}/", json={"phone": "50110556645"})

    assert (answer.status_code, answer.json()["customer_id"]) == (409, holder)


async def test_deleted_is_gone_until_it_is_restored(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    customer_id = await created(client, **WHOLE)
    path = f"{CUSTOMERS}{customer_id}/"

    deleted = await client.delete(path)

    assert deleted.json() == {"success": True, "message": "The customer has been deleted."}
    gone = [
        await client.get(path),
        await client.delete(path),
        await client.patch(path, json={"city_id": 1}),
        await client.patch(path, json={"phone": "65979638297"}),
    ]
    assert [answer.status_code for answer in gone] == [404] * 4
    restored = await client.post(path + "restore/")
    assert (restored.status_code, restored.json()) == (200, {"id": customer_id, **WHOLE})
    assert (await client.post(path + "restore/")).json() == restored.json()
    events = await events_in_outbox(pool)
    assert [type(event) for event in events] == [CustomerCreated, CustomerDeleted, CustomerRestored]
    assert [(event.version, event.changed) for event in events[1:]] == [(2, ["deleted_at"]), (3, ["deleted_at"])]
    assert [event.deleted_at is None for event in events] == [True, False, True]


async def test_a_customer_whose_phone_is_taken_meanwhile_is_not_restored(client: httpx.AsyncClient) -> None:
    first = await created(client)
    await client.delete(f"{CUSTOMERS}{first}/")
    second = await created(client)

    answer = await client.post(f"{CUSTOMERS}{first}/restore/")

    assert (answer.status_code, answer.json()["customer_id"]) == (409, second)


@pytest.mark.parametrize("spelled", ["1.0", "%201", "1%0A", "1_0", "+1", "0", "-1", "x", str(2**63)])
async def test_an_id_is_written_in_digits(client: httpx.AsyncClient, spelled: str) -> None:
    await created(client)

    answer = await client.get(f"{CUSTOMERS}{spelled}/")

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/path/customer_id")


@pytest.mark.parametrize("call", ["get", "delete", "restore", "patch", "phone"])
async def test_who_was_never_there_is_not_found(client: httpx.AsyncClient, call: str) -> None:
    path = f"{CUSTOMERS}999999/"
    calls = {
        "get": lambda: client.get(path),
        "delete": lambda: client.delete(path),
        "restore": lambda: client.post(path + "restore/"),
        "patch": lambda: client.patch(path, json={"city_id": 1}),
        "phone": lambda: client.patch(path, json={"phone": "65979638297"}),
    }

    answer = await calls[call]()

    assert (answer.status_code, answer.json()["code"]) == (404, "customer_not_found")


async def test_the_version_guards_reads_and_writes(client: httpx.AsyncClient) -> None:
    path = f"{CUSTOMERS}{await created(client)}/"

    same = await client.get(path, headers={"If-None-Match": '"7", W/"1"'})
    late = await client.patch(path, json={"city_id": 1}, headers={"If-Match": '"2"'})
    weak = await client.patch(path, json={"phone": "65979638297"}, headers={"If-Match": 'W/"1"'})
    gone = await client.delete(path, headers={"If-Match": '"2"'})
    right = await client.patch(path, json={"city_id": 1}, headers={"If-Match": '"1"'})
    other = await client.get(path, headers={"If-None-Match": '"1"'})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"1"')
    assert [answer.status_code for answer in (late, weak, gone)] == [412] * 3
    assert {answer.headers["etag"] for answer in (late, weak, gone)} == {'"1"'}
    assert (right.status_code, other.status_code, other.headers["etag"]) == (200, 200, '"2"')


async def test_writers_of_different_fields_lose_nothing(client: httpx.AsyncClient) -> None:
    path = f"{CUSTOMERS}{await created(client)}/"
    fields = {"firstname": "Анна", "lastname": "Иванова", "email": "anna@example.com", "city_id": 3, "gender": "F"}

    await asyncio.gather(*(client.patch(path, json={name: value}) for name, value in fields.items()))

    answer = await client.get(path)
    assert (answer.headers["etag"], {name: answer.json()[name] for name in fields}) == ('"6"', fields)


FAULTS = [
    ({}, "/body/phone"),
    ({"phone": None}, "/body/phone"),
    ({"phone": 79025163111}, "/body/phone"),
    ({"phone": "12"}, "/body/phone"),
    ({"phone": "89025163x11"}, "/body/phone"),
    ({"phone": "9990255163111222"}, "/body/phone"),
    ({"phone": "50110556645", "firstname": ""}, "/body/firstname"),
    ({"phone": "50110556645", "firstname": "   "}, "/body/firstname"),
    ({"phone": "50110556645", "firstname": "x" * 101}, "/body/firstname"),
    ({"phone": "50110556645", "lastname": "a\0b"}, "/body/lastname"),
    ({"phone": "50110556645", "lastname": 5}, "/body/lastname"),
    ({"phone": "50110556645", "email": "nobody"}, "/body/email"),
    ({"phone": "50110556645", "email": "a@localhost"}, "/body/email"),
    ({"phone": "50110556645", "birthday": "2999-01-01"}, "/body/birthday"),
    ({"phone": "50110556645", "birthday": "1899-12-31"}, "/body/birthday"),
    ({"phone": "50110556645", "birthday": "2023-02-30"}, "/body/birthday"),
    ({"phone": "50110556645", "birthday": 0}, "/body/birthday"),
    ({"phone": "50110556645", "birthday": "2023-12-21T00:00:00"}, "/body/birthday"),
    ({"phone": "50110556645", "gender": "m"}, "/body/gender"),
    ({"phone": "50110556645", "city_id": -1}, "/body/city_id"),
    ({"phone": "50110556645", "city_id": 2**63}, "/body/city_id"),
    ({"phone": "50110556645", "city_id": False}, "/body/city_id"),
    ({"phone": "50110556645", "city_id": 1.5}, "/body/city_id"),
    ({"phone": "50110556645", "city_id": "1"}, "/body/city_id"),
    ({"phone": "50110556645", "last_auth_at": 5}, "/body/last_auth_at"),
    ({"phone": "50110556645", "last_auth_at": "2023-12-21"}, "/body/last_auth_at"),
    ({"phone": "50110556645", "last_auth_at": "2999-01-01T00:00:00Z"}, "/body/last_auth_at"),
    ({"phone": "50110556645", "last_auth_at": "9999-12-31T23:59:59-10:00"}, "/body/last_auth_at"),
    ({"phone": "50110556645", "last_auth_at": "2023-12-21T04:20:60Z"}, "/body/last_auth_at"),
    ({"phone": "50110556645", "id": 1}, "/body/id"),
    ({"phone": "50110556645", "a/b~": 1}, "/body/a~1b~0"),
    ([], "/body"),
    ("text", "/body"),
    (None, "/body"),
]


@pytest.mark.parametrize(("body", "pointer"), FAULTS, ids=[f"{body}"[:60] for body, _ in FAULTS])
async def test_what_cannot_be_understood_is_pointed_at(client: httpx.AsyncClient, body: Any, pointer: str) -> None:
    answer = await client.post(CUSTOMERS, json=body)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b'{"phone": "\xff"}',
        b'{"phone": "50110556645", "firstname": "\\ud800"}',
        b'{"phone": "50110556645", "city_id": NaN}',
        b'{"phone": "50110556645", "city_id": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"",
    ],
    ids=["cut", "not UTF-8", "not UTF-8 inside", "half a character", "NaN", "a long number", "deep", "empty"],
)
async def test_rubbish_is_no_failure_of_ours(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(CUSTOMERS, content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_a_body_must_be_json(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post(CUSTOMERS, content=b'{"phone": "50110556645"}', headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "zstd", "identity, deflate", "unheard-of"])
async def test_a_body_must_be_sent_as_it_is(client: httpx.AsyncClient, coding: str) -> None:
    body, kind = b'{"phone": "50110556645"}', {"Content-Type": "application/json"}

    answer = await client.post(CUSTOMERS, content=body, headers={**kind, "Content-Encoding": coding})
    plain = await client.post(CUSTOMERS, content=body, headers={**kind, "Content-Encoding": "Identity"})

    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "Content-Encoding" in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"
    assert plain.status_code == 201


async def test_a_body_has_its_limit(client: httpx.AsyncClient) -> None:
    answer = await client.post(CUSTOMERS, json={"phone": "5" * 1_000_000})

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_method_that_is_not_there_is_told_which_are(client: httpx.AsyncClient) -> None:
    answer = await client.put(f"{CUSTOMERS}1/")

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "PATCH", "DELETE"}


@pytest.mark.parametrize("body", [b"{bad", b"5" * 1_000_000])
async def test_a_token_without_the_scope_gets_no_body_judged(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {**bearer("customers:read"), "Content-Type": "application/json"}

    answer = await client.post(CUSTOMERS, content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


async def test_who_breaks_off_is_no_failure_of_ours(
    postgres_server: Postgres, database_name: str, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    async with running_service(postgres_server, SCHEMA, database_name, said) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        authorization = f"Authorization: {bearer()['Authorization']}\r\nContent-Type: application/json"
        writer.write(
            f"POST {CUSTOMERS} HTTP/1.1\r\nHost: x\r\n{authorization}\r\nContent-Length: 200\r\n\r\n{{".encode()
        )
        await writer.drain()
        writer.close()
        async with httpx.AsyncClient(base_url=url, headers=bearer()) as client:
            assert (await client.get(CUSTOMERS)).status_code == 200

    assert '"level":"error"' not in said.read_text().replace(" ", "")

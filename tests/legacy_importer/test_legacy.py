"""Reading vAptekeSync over the wire with both ODBC drivers: rows, rejected tables, and the deadline of a hang."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from ipv6 import needs_ipv6
from legacy_importer import connection as connections
from legacy_importer import legacy, socket_shutdown, table_check
from legacy_importer.legacy import Plan
from legacy_importer.legacy_errors import LegacyMisconfigured, LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.settings import WorkSettings
from legacy_importer.translate import LegacyRow
from vapteke_local.vaptekesync import CUSTOMERS, Column, Constraint, Server, Table
from vapteke_local.vaptekesync.session.faults import FaultKind

Serve = Callable[..., Any]
SettingsFor = Callable[..., WorkSettings]
Check = Callable[..., subprocess.CompletedProcess[str]]
Eventually = Callable[..., Awaitable[None]]

BIGINT = CUSTOMERS.altered("ID", sql_type="bigint")
LEAST, GREATEST = -(2**63), 2**63 - 1
ROWS = 6_000
SECRET = "s3cret-p4ssword"


def customer(key: int) -> tuple[Any, ...]:
    return (key, f"8907{abs(key) % 10_000_000:07d}", "Виктор", f"Ёлкин-{key}", None, None, "М", 77, None)


async def planned(settings: WorkSettings, rows_per_range: int) -> Plan:
    async with connect(settings) as connection:
        return await legacy.plan(connection, settings, rows_per_range)


async def rows_of(settings: WorkSettings, after_id: int | None = None, upto_id: int = 2**31 - 1) -> list[LegacyRow]:
    async with (
        connect(settings) as connection,
        aclosing(legacy.read_range(connection, settings, after_id, upto_id)) as pages,
    ):
        return [row async for page in pages for row in page]


async def unfit_of(settings: WorkSettings) -> str:
    with pytest.raises(LegacyMisconfigured) as unfit:
        async with connect(settings) as connection:
            await table_check.check(connection, settings)
    return str(unfit.value)


@pytest.mark.parametrize(
    ("keys", "rows_per_range", "row_count", "upper_bounds"),
    [
        ([], 10, 0, []),
        ([5], 10, 1, [5]),
        ([5], 1, 1, [5]),
        (range(1, 31), 10, 30, [10, 20, 30]),
        (range(1, 33), 10, 32, [10, 20, 30, 32]),
        (range(1, 10), 10, 9, [9]),
        (range(-30, 1, 3), 5, 11, [-18, -3, 0]),
        ([LEAST, -1, 0, 2**40, GREATEST], 2, 5, [-1, 2**40, GREATEST]),
    ],
    ids=["none", "one", "one of one", "exact", "remainder", "fewer", "negative", "bigint"],
)
async def test_a_plan_bounds_the_ranges(
    serve: Serve,
    settings_for: SettingsFor,
    driver: str,
    keys: Sequence[int],
    rows_per_range: int,
    row_count: int,
    upper_bounds: list[int],
) -> None:
    with serve([customer(key) for key in keys], BIGINT) as server:
        plan = await planned(settings_for(server, vaptekesync_driver=driver), rows_per_range)

    assert plan == Plan(row_count, upper_bounds)


@pytest.mark.parametrize("rows_per_range", [1, 7, 25, 1000])
async def test_the_planned_ranges_hold_every_row_once(
    serve: Serve, settings_for: SettingsFor, driver: str, rows_per_range: int
) -> None:
    keys = [LEAST, *range(-700, 700, 111), 2**40, GREATEST]
    with serve([customer(key) for key in keys], BIGINT) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        bounds = (await planned(settings, rows_per_range)).upper_bounds

        ranges = [await rows_of(settings, *pair) for pair in zip([None, *bounds], bounds, strict=False)]

    assert [row.id for rows in ranges for row in rows] == keys
    assert all(len(rows) <= rows_per_range for rows in ranges)


async def test_bounds_between_the_keys_lose_and_repeat_nothing(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([customer(key) for key in range(10, 60, 10)], BIGINT) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        bounds = [-5, 9, 10, 11, 29, 40, 40, 45, 1000]

        ranges = [await rows_of(settings, *pair) for pair in zip([None, *bounds], bounds, strict=False)]

    assert [[row.id for row in rows] for rows in ranges] == [[], [], [10], [], [20], [30, 40], [], [], [50]]


async def test_a_range_of_several_pages_is_read_whole_and_in_order(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([customer(key) for key in range(12_000)]) as server:
        rows = await rows_of(settings_for(server, vaptekesync_driver=driver))

    assert [row.id for row in rows] == list(range(12_000))


async def test_every_column_arrives_as_it_was(serve: Serve, settings_for: SettingsFor, driver: str) -> None:
    full = (
        2,
        " 8 (907) 111-22-33 ",
        "Ёж",
        "Ўлкін 😀",
        "ёж@example.com",
        date(1990, 5, 17),
        "Ж",
        0,
        datetime(2023, 12, 21, 4, 20, 37, 23_000),
    )
    empty = (1, None, "", None, None, None, None, None, None)
    with serve([full, empty]) as server:
        rows = await rows_of(settings_for(server, vaptekesync_driver=driver))

    assert [row[:-1] for row in rows] == [empty, full]


@pytest.mark.parametrize("broken", [5, 5_900])
async def test_half_a_character_does_not_hold_up_the_other_rows(
    serve: Serve, settings_for: SettingsFor, driver: str, broken: int
) -> None:
    table = CUSTOMERS.altered("FirstName", sql_type="nvarchar(40)")
    whole, half = "Ян😀".encode("utf-16-le"), "Ян\ud83dX".encode("utf-16-le", "surrogatepass")
    with serve([(key, "89071112233", "Ян😀", *[None] * 6) for key in range(ROWS)], table) as server:
        # a nvarchar column cuts a surrogate pair in two; the stand-in's own encoder does not
        server.rows._rows[broken] = server.rows._rows[broken].replace(whole, half)
        rows = await rows_of(settings_for(server, vaptekesync_driver=driver))

    assert [row.id for row in rows] == list(range(ROWS))
    assert {row.firstname for row in rows if row.id != broken} == {"Ян😀"}
    assert rows[broken].firstname == "Ян\ud83dX"


async def test_the_clock_is_the_servers_in_utc(serve: Serve, settings_for: SettingsFor, driver: str) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, 678_901)
    with serve(clock=lambda: now) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        async with connect(settings) as connection:
            assert await legacy.clock(connection) == now.replace(tzinfo=UTC)


@pytest.mark.parametrize("kind", ["tinyint", "smallint", "int", "bigint"])
async def test_a_table_as_the_settings_say_passes(
    serve: Serve, settings_for: SettingsFor, driver: str, kind: str
) -> None:
    with serve([], CUSTOMERS.altered("ID", sql_type=kind)) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        async with connect(settings) as connection:
            await table_check.check(connection, settings)


def without_phone_and_city() -> Table:
    return CUSTOMERS.without("Phone").without("CityID")


def with_key(*columns: str) -> Table:
    return replace(CUSTOMERS, constraints=(Constraint("PK_Customers", "PRIMARY KEY", columns),))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (replace(CUSTOMERS, name="Clients"), ["dbo.Customers", "does not exist"]),
        (replace(CUSTOMERS, schema="old"), ["dbo.Customers", "does not exist"]),
        (CUSTOMERS.without("Email"), ["dbo.Customers", "no column Email"]),
        (without_phone_and_city(), ["dbo.Customers", "no column Phone, CityID"]),
        (CUSTOMERS.altered("ID", nullable=True), ["key ID", "dbo.Customers", "null"]),
        (CUSTOMERS.altered("ID", sql_type="nvarchar(20)"), ["key ID", "dbo.Customers", "nvarchar", "bigint"]),
        (CUSTOMERS.altered("ID", sql_type="datetime"), ["key ID", "dbo.Customers", "datetime"]),
        (replace(CUSTOMERS, constraints=()), ["key ID", "dbo.Customers", "not unique"]),
        (with_key("ID", "CityID"), ["key ID", "dbo.Customers", "not unique"]),
        (with_key("CityID"), ["key ID", "dbo.Customers", "not unique"]),
    ],
    ids=[
        "other table",
        "other schema",
        "no column",
        "no columns",
        "nullable key",
        "text key",
        "datetime key",
        "no constraint",
        "composite key",
        "other key",
    ],
)
async def test_a_table_that_does_not_fit_is_named_with_what_is_wrong(
    serve: Serve, settings_for: SettingsFor, driver: str, table: Table, words: list[str]
) -> None:
    with serve([], table) as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver=driver))

    assert all(word in said for word in words), said


async def test_a_unique_constraint_serves_beside_a_composite_primary_key(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    constraints = (Constraint("PK", "PRIMARY KEY", ("CityID", "ID")), Constraint("UQ", "UNIQUE", ("ID",)))
    with serve([], replace(CUSTOMERS, constraints=constraints)) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        async with connect(settings) as connection:
            await table_check.check(connection, settings)


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        (Constraint("IX", "UNIQUE INDEX", ("ID",)), True),
        (Constraint("IX", "UNIQUE INDEX", ("id",)), True),
        (Constraint("IX", "UNIQUE INDEX", ("ID", "CityID")), False),
        (Constraint("IX", "UNIQUE INDEX", ("ID",), has_filter=True), False),
        (Constraint("IX", "UNIQUE INDEX", ("ID",), is_disabled=True), False),
        (Constraint("PK", "PRIMARY KEY", ("ID",), is_disabled=True), False),
    ],
    ids=["unique", "other case", "composite", "filtered", "disabled", "disabled primary key"],
)
async def test_a_unique_index_of_all_rows_serves_as_a_constraint_does(
    serve: Serve, settings_for: SettingsFor, driver: str, index: Constraint, serves: bool
) -> None:
    with serve([customer(1)], replace(CUSTOMERS, constraints=(index,))) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        if serves:
            async with connect(settings) as connection:
                assert await table_check.check(connection, settings) == []
        else:
            assert "not unique" in await unfit_of(settings)


def view(*, nullable: bool = False) -> Table:
    return replace(CUSTOMERS.altered("ID", nullable=nullable), type="VIEW", constraints=())


@pytest.mark.parametrize("nullable", [False, True])
async def test_a_views_key_is_counted_and_that_is_a_warning(
    serve: Serve, settings_for: SettingsFor, driver: str, nullable: bool
) -> None:
    with serve([customer(1), customer(2)], view(nullable=nullable)) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        async with connect(settings) as connection:
            [warning] = await table_check.check(connection, settings)

        assert await planned(settings, 10) == Plan(2, [2])
    assert "dbo.Customers is a view" in warning
    assert "counting" in warning


@pytest.mark.parametrize(
    ("keys", "words"),
    [([1, 2, 2, 3], "not unique: 4 rows have 3 different keys"), ([1, None, None], "is null in 2 rows")],
)
async def test_a_view_whose_key_is_no_key_is_refused_with_its_counts(
    serve: Serve, settings_for: SettingsFor, driver: str, keys: list[int | None], words: str
) -> None:
    rows = [(key, "89071112233", *[None] * 7) for key in keys]
    with serve(rows, view(nullable=True)) as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver=driver))

    assert "view dbo.Customers" in said
    assert words in said


async def test_a_synonym_is_reported_with_what_it_stands_for(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([], replace(CUSTOMERS, synonyms=("People",))) as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver=driver, vaptekesync_table="People"))

    assert "dbo.People is a synonym" in said
    assert "[dbo].[Customers]" in said


def secret(name: str) -> Table:
    columns = tuple(replace(c, may_be_read=c.name != name) for c in CUSTOMERS.columns)
    return replace(CUSTOMERS, columns=columns)


async def test_a_column_that_may_not_be_read_is_not_only_called_missing(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([customer(1)], secret("Email")) as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver=driver))

    assert "has no column Email, or the user has no right to read it" in said


NAMES = {
    "id": "Код",
    "phone": "Mobile Phone",
    "firstname": "Name",
    "lastname": "Sur-name",
    "email": "E-mail",
    "birthday": "Born",
    "gender": "Sex",
    "city_id": "Town",
    "last_auth_at": "Seen",
}


async def test_another_table_is_read_by_the_mapping(serve: Serve, settings_for: SettingsFor, driver: str) -> None:
    columns = [
        Column(name, old.type, old.nullable) for name, old in zip(NAMES.values(), CUSTOMERS.columns, strict=True)
    ]
    table = Table("shop", "Клиенты", tuple(columns[::-1]), "Код", (Constraint("UQ", "UNIQUE", ("Код",)),))
    mapping = {"vaptekesync_schema": "shop", "vaptekesync_table": "Клиенты", "vaptekesync_columns": NAMES}
    with serve([customer(key)[::-1] for key in (1, 2, 3)], table) as server:
        settings = settings_for(server, vaptekesync_driver=driver, **mapping)
        async with connect(settings) as connection:
            await table_check.check(connection, settings)

        assert await planned(settings, 2) == Plan(3, [2, 3])
        assert [row[:-1] for row in await rows_of(settings)] == [customer(key) for key in (1, 2, 3)]


@pytest.mark.parametrize(
    ("wrong", "variable"),
    [
        ("vaptekesync_password", "VAPTEKESYNC_PASSWORD"),
        ("vaptekesync_user", "VAPTEKESYNC_USER"),
        ("vaptekesync_db", "VAPTEKESYNC_DB"),
    ],
)
async def test_a_refused_login_names_the_variable_and_tells_no_password(
    serve: Serve, settings_for: SettingsFor, driver: str, wrong: str, variable: str
) -> None:
    with serve(password=SECRET) as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver=driver, **{wrong: SECRET + "-wrong"}))

    assert variable in said
    assert f"{server.host}:{server.port}" in said
    if wrong != "vaptekesync_db":
        assert SECRET not in said


@pytest.mark.parametrize("password", ["a;b", "a}b", "{a}", "a}}b", "{a;b}", "пароль", "a'\"=b"])
async def test_any_password_reaches_the_server(
    serve: Serve, settings_for: SettingsFor, driver: str, password: str
) -> None:
    with serve([customer(1)], password=password) as server:
        assert len(await rows_of(settings_for(server, vaptekesync_driver=driver))) == 1


async def test_a_password_that_freetds_cannot_be_given_is_said_so(serve: Serve, settings_for: SettingsFor) -> None:
    with serve(password=SECRET + "};") as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver="FreeTDS"))

    assert "FreeTDS does not support" in said
    assert SECRET not in said


async def test_a_driver_that_is_not_there_is_named_by_its_variable(serve: Serve, settings_for: SettingsFor) -> None:
    with serve() as server:
        said = await unfit_of(settings_for(server, vaptekesync_driver="/nowhere/libodbc-nothing.so"))

    assert "check the name or path in VAPTEKESYNC_DRIVER" in said


@dataclass
class Watch:
    """Seconds since the block began, and how long the event loop stood still meanwhile."""

    started: float
    blocked: float = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


@asynccontextmanager
async def watched() -> AsyncIterator[Watch]:
    watch = Watch(time.monotonic())

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            watch.blocked = max(watch.blocked, time.monotonic() - before - 0.02)

    beating = asyncio.create_task(beat())
    try:
        yield watch
    finally:
        beating.cancel()


def left_over(server: Server) -> list[object]:
    """What a given-up connection may not leave behind."""
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("odbc")]
    return [*threads, *[1] * server.stats.connections_open, *[1] * int(connections.abandoned._value.get())]


HANGS: dict[str, tuple[FaultKind, dict[str, Any]]] = {
    "a statement that takes too long": ("delay", {"seconds": 30, "statement": "range", "times": 1}),
    "a login that takes too long": ("delay", {"seconds": 30, "before": "login", "times": 1}),
    "silent before the login": ("silent", {}),
    "silent at a statement": ("silent", {"statement": "range"}),
    "silent at the first statement": ("silent", {"statement": "clock"}),
    "silent in mid-result": ("silent", {"rows": 5_500}),
}
BREAKS: dict[str, tuple[FaultKind, dict[str, Any]]] = {
    "refused": ("refuse", {"times": 1}),
    "dropped in mid-result": ("drop", {"rows": 5_500}),
    "dropped at once": ("drop", {"rows": 0}),
    "a deadlock's victim": ("fail", {"statement": "range", "number": 1205, "severity": 13}),
    "a deadlock's victim in mid-result": ("fail", {"statement": "range", "rows": 5_500, "number": 1205}),
    "shutting down": ("fail", {"statement": "range", "number": 6005, "severity": 21}),
}


async def read_like_an_importer(settings: WorkSettings) -> int:
    async with connect(settings) as connection:
        await legacy.clock(connection)
        async with aclosing(legacy.read_range(connection, settings, None, 10**9)) as pages:
            return sum([len(list(page)) async for page in pages])


@pytest.mark.parametrize("fault", HANGS)
async def test_a_hang_ends_at_the_deadline_and_leaves_nothing(
    serve: Serve, settings_for: SettingsFor, driver: str, eventually: Eventually, fault: str
) -> None:
    kind, options = HANGS[fault]
    with serve([customer(key) for key in range(ROWS)]) as server:
        settings = settings_for(server, vaptekesync_driver=driver, mssql_timeout=2)
        server.set_fault(kind, **options)

        async with watched() as watch:
            with pytest.raises(LegacyUnavailable, match="did not answer within 2 s"):
                await read_like_an_importer(settings)
            seconds = watch.seconds
            await eventually(lambda: not left_over(server))

        server.clear_faults()
        assert await read_like_an_importer(settings) == ROWS
    assert settings.mssql_timeout <= seconds < 2 * settings.mssql_timeout  # not twice the deadline
    assert watch.blocked < settings.mssql_timeout / 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ignores connections beyond a full queue")
async def test_the_check_of_the_port_and_the_login_share_one_deadline(
    serve: Serve, settings_for: SettingsFor, driver: str, eventually: Eventually
) -> None:
    with serve() as server, socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen(0)
        settings = settings_for(
            server, vaptekesync_port=slow.getsockname()[1], vaptekesync_driver=driver, mssql_timeout=4
        )
        with socket.create_connection(slow.getsockname()), accepting_after(1.5, slow):
            async with watched() as watch:  # the client tries the port again after 1 s and after 3 s
                with pytest.raises(LegacyUnavailable, match="did not answer within 4 s"):
                    await read_like_an_importer(settings)
                seconds = watch.seconds
            await eventually(lambda: not left_over(server))

    assert settings.mssql_timeout <= seconds < 1.5 * settings.mssql_timeout


@contextmanager
def accepting_after(seconds: float, listener: socket.socket) -> Iterator[None]:
    """Make room in the listener's queue after so many seconds, and answer no connection."""
    accepted: list[socket.socket] = []

    def accept() -> None:
        listener.listen(5)
        accepted.append(listener.accept()[0])

    timer = threading.Timer(seconds, accept)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        for connection in accepted:
            connection.close()


@pytest.mark.parametrize("fault", BREAKS)
async def test_a_break_is_reported_at_once_and_the_next_attempt_works(
    serve: Serve, settings_for: SettingsFor, driver: str, eventually: Eventually, fault: str
) -> None:
    kind, options = BREAKS[fault]
    with serve([customer(key) for key in range(ROWS)]) as server:
        settings = settings_for(server, vaptekesync_driver=driver, mssql_timeout=30)
        server.set_fault(kind, **options)

        async with watched() as watch:
            with pytest.raises(LegacyUnavailable, match=f"vAptekeSync at {server.host}:{server.port}"):
                await read_like_an_importer(settings)
            seconds = watch.seconds

        assert await read_like_an_importer(settings) == ROWS
        await eventually(lambda: not left_over(server))
    assert seconds < settings.mssql_timeout / 2
    assert watch.blocked < settings.mssql_timeout / 2


async def test_no_server_at_the_port_is_reported_by_the_deadline(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        settings = settings_for(server, vaptekesync_driver=driver)

    async with watched() as watch:
        with pytest.raises(LegacyUnavailable):
            await read_like_an_importer(settings)

        assert watch.seconds < 3 * settings.mssql_timeout  # Microsoft's driver tries until then


async def test_a_caller_who_is_cancelled_leaves_nothing(
    serve: Serve, settings_for: SettingsFor, driver: str, eventually: Eventually
) -> None:
    with serve([customer(key) for key in range(ROWS)]) as server:
        server.set_fault("silent", statement="range")
        settings = settings_for(server, vaptekesync_driver=driver, mssql_timeout=60)
        reading = asyncio.create_task(read_like_an_importer(settings))
        await eventually(lambda: server.stats.statements["range"])

        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        await eventually(lambda: not left_over(server), seconds=5)


class CallerFailed(Exception):
    """Kafka is away, say."""


async def fail_at_the_first_page(settings: WorkSettings) -> None:
    async with (
        connect(settings) as connection,
        aclosing(legacy.read_range(connection, settings, None, 10**9)) as pages,
    ):
        async for _ in pages:
            raise CallerFailed


async def test_a_caller_who_fails_in_mid_result_keeps_his_reason(
    serve: Serve, settings_for: SettingsFor, driver: str, eventually: Eventually
) -> None:
    with serve([customer(key) for key in range(ROWS)]) as server:
        server.set_fault("drop", rows=5_500)
        settings = settings_for(server, vaptekesync_driver=driver)

        with pytest.raises(CallerFailed):
            await fail_at_the_first_page(settings)

        await eventually(lambda: not left_over(server))


async def test_a_connection_that_is_given_up_spares_the_others(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve([customer(1)]) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        async with connect(settings) as other:
            server.set_fault("silent", statement="range")
            with pytest.raises(LegacyUnavailable):
                await read_like_an_importer(settings)

            assert (await legacy.clock(other)).date() - datetime.now(UTC).date() < timedelta(days=2)


def test_sockets_to_other_ports_are_not_cut(serve: Serve) -> None:
    with serve() as server:
        assert socket_shutdown.addresses_connected_to(server.port) == set()
        socket_shutdown.shut_down(server.port, set())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (None, "rows: 6000"),
        (("silent", {}), "did not answer within 1 s"),
        (("silent", {"statement": "boundaries"}), "did not answer within 1 s"),
        (("refuse", {}), "cannot be reached"),
        (("fail", {"statement": "range", "number": 230}), "grant SELECT"),
    ],
    ids=["well", "silent", "silent at the plan", "refused", "no permission"],
)
def test_the_check_ends_in_time_and_says_what_it_found(
    serve: Serve,
    settings_for: SettingsFor,
    check: Check,
    driver: str,
    fault: tuple[Any, dict[str, Any]] | None,
    words: str,
) -> None:
    with serve([customer(key) for key in range(ROWS)]) as server:
        settings = settings_for(server, vaptekesync_driver=driver)
        if fault:
            server.set_fault(fault[0], **fault[1])

        ended = check(settings)

    assert words in ended.stdout + ended.stderr
    assert ended.returncode == (1 if fault else 0)
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 1


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_vaptekesync_is_reached_over_ipv6(
    serve: Serve, settings_for: Callable[..., WorkSettings], driver: str, host: str
) -> None:
    with serve([customer(1)], host="::1") as server:
        settings = settings_for(server, vaptekesync_host=host, vaptekesync_driver=driver, mssql_timeout=10)
        async with connect(settings) as connection:
            plan = await legacy.plan(connection, settings, 10)

    assert plan.row_count == 1

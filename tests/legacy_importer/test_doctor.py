"""`legacy-importer doctor`: it names the cure in each of these broken set-ups, and finds nothing in a good one."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import tls
from legacy_importer.doctor import admin_script, examination, findings, kafka_checks
from legacy_importer.doctor.findings import Finding, Status
from legacy_importer.doctor.subject import Subject
from legacy_importer.settings import WorkSettings
from vapteke_local.servers.kafka import Kafka
from vapteke_local.vaptekesync import CUSTOMERS, Constraint, Encryption, Server, Table
from vapteke_local.vaptekesync.table.definition import Column
from vapteke_local.vaptekesync.types.definitions import SqlType
from vapteke_shared.contract import topics
from vapteke_shared.messaging import create_topics
from vapteke_shared.messaging.create_topics import TopicsSettings
from vapteke_shared.messaging.topic_differences import Difference, Differences

Serve = Callable[..., Any]
SettingsFor = Callable[..., WorkSettings]
Command = Callable[..., subprocess.CompletedProcess[str]]

NOW = datetime(2026, 11, 23, 9)
CONNECTION = ["driver", "server", "tls", "login"]
TABLE = ["clock", "table", "columns", "rights", "key", "rowversion"]
DATA = ["time zone", "plan", "range", "fingerprint", "cyrillic"]


def customer(key: int, signed_in: datetime | None = None) -> tuple[Any, ...]:
    return (key, f"8907{key:07d}", "Виктор", f"Ёлкин-{key}", None, None, "М", 77, signed_in or datetime(2026, 1, 1))


def nobody_listens() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def nobody_is_trusted_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets there is undone after it."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "FREETDSCONF"):
        monkeypatch.setenv(name, "/nowhere")


@pytest.fixture
def trusted(tmp_path: Any, serve: Serve, settings_for: SettingsFor) -> tuple[Serve, SettingsFor]:
    """`serve` and `settings_for` with a certificate that is trusted, and with a deadline that a busy machine keeps."""
    encrypted = {"vaptekesync_encrypt": "yes", "vaptekesync_host": "localhost"}
    authority = tls.authority_file(tmp_path)
    return (
        partial(serve, host="0.0.0.0", encryption=Encryption(tls.context("trusted"))),
        partial(settings_for, **encrypted, vaptekesync_sslrootcert=authority, mssql_timeout=30),
    )


async def examined(settings: WorkSettings) -> dict[str, Finding]:
    return {finding.check: finding async for finding in examination.examine(settings)}


@dataclass
class Broken:
    """A set-up with one fault: the check that finds it, the status, and words of the text that name the cure."""

    check: str
    status: Status
    words: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    table: Table = CUSTOMERS
    rows: tuple[tuple[Any, ...], ...] = (customer(1), customer(2))
    serving: dict[str, Any] = field(default_factory=dict)
    break_server: Callable[[Server], object] = lambda _: None


def unreadable(column: str) -> Table:
    return replace(CUSTOMERS, columns=tuple(replace(c, may_be_read=c.name != column) for c in CUSTOMERS.columns))


def certificate(kind: str) -> dict[str, Any]:
    return {"encryption": Encryption(tls.context(kind))}


FAILURE, WARNING, UNKNOWN = Status.FAILURE, Status.WARNING, Status.UNKNOWN
SET_UPS = {
    "no driver": Broken("driver", FAILURE, ("VAPTEKESYNC_DRIVER",), {"vaptekesync_driver": "/nowhere/libdriver.so"}),
    "nobody listens": Broken("server", FAILURE, ("VAPTEKESYNC_PORT",), {"vaptekesync_port": nobody_listens()}),
    "another host": Broken("server", FAILURE, ("VAPTEKESYNC_HOST",), {"vaptekesync_host": "vaptekesync.invalid"}),
    "a silent server": Broken(
        "login",
        FAILURE,
        ("did not answer within 3 s",),
        {"mssql_timeout": 3},
        break_server=lambda server: server.set_fault("silent"),
    ),
    "a self-signed certificate": Broken(
        "tls", FAILURE, ("not trusted", "VAPTEKESYNC_SSLROOTCERT"), serving=certificate("self-signed")
    ),
    "an expired certificate": Broken("tls", FAILURE, ("expired", "renew"), serving=certificate("expired")),
    "a certificate for another name": Broken(
        "tls", FAILURE, ("VAPTEKESYNC_CERTIFICATE_HOST",), serving=certificate("another name")
    ),
    "no TLS": Broken("tls", FAILURE, ("VAPTEKESYNC_ENCRYPT=no",), serving={"encryption": None}),
    "any certificate will do": Broken(
        "tls", WARNING, ("VAPTEKESYNC_SSLROOTCERT",), {"vaptekesync_trust_server_certificate": True}
    ),
    "an option that the driver rejects": Broken(
        "login",
        FAILURE,
        ("VAPTEKESYNC_ODBC_OPTIONS",),
        {"vaptekesync_odbc_options": "MultiSubnetFailover=perhaps"},
    ),
    "a wrong password": Broken("login", FAILURE, ("VAPTEKESYNC_PASSWORD",), {"vaptekesync_password": "wrong"}),
    "another database": Broken("login", FAILURE, ("VAPTEKESYNC_DB",), {"vaptekesync_db": "Other"}),
    "a database that is offline": Broken(
        "login", FAILURE, ("OFFLINE",), break_server=lambda server: server.set_database("OFFLINE")
    ),
    "a clock that is wrong": Broken(
        "clock", WARNING, ("behind", "set the clock"), serving={"clock": lambda: NOW - timedelta(days=9999)}
    ),
    "another table": Broken("table", FAILURE, ("VAPTEKESYNC_TABLE", "--sql"), {"vaptekesync_table": "Clients"}),
    "a synonym": Broken(
        "table",
        FAILURE,
        ("[dbo].[Customers]",),
        {"vaptekesync_table": "People"},
        replace(CUSTOMERS, synonyms=("People",)),
    ),
    "a column without a grant": Broken("columns", FAILURE, ("grant SELECT",), table=unreadable("Email")),
    "a column of another type": Broken(
        "columns",
        FAILURE,
        ("CityID is of type", "smallint"),
        table=CUSTOMERS.altered("CityID", sql_type="varchar(9)"),
        rows=(),
    ),
    "a column that is too short": Broken(
        "columns",
        WARNING,
        ("holds 9 characters", "VAPTEKESYNC_COLUMNS"),
        table=CUSTOMERS.altered("Phone", sql_type="varchar(9)"),
        rows=((1, "123456789", "Виктор", *[None] * 5, NOW),),
    ),
    "a table without a grant": Broken(
        "rights",
        FAILURE,
        ("grant SELECT", "--sql"),
        break_server=lambda server: server.set_fault("fail", statement="range", number=229, severity=14),
    ),
    "a user with too many rights": Broken(
        "rights",
        WARNING,
        ("revoke DELETE, UPDATE",),
        table=replace(CUSTOMERS, permissions=("SELECT", "UPDATE", "DELETE")),
    ),
    "rights that cannot be seen": Broken(
        "rights", UNKNOWN, ("ask the administrators",), table=replace(CUSTOMERS, permissions=())
    ),
    "a key without an index": Broken(
        "key",
        FAILURE,
        ("unique index of its own", "--sql"),
        table=replace(CUSTOMERS, constraints=(Constraint("IX", "UNIQUE INDEX", ("ID",), has_filter=True),)),
    ),
    "a key that may be null": Broken(
        "key", FAILURE, ("NOT NULL", "--sql"), table=CUSTOMERS.altered("ID", nullable=True)
    ),
    "a view with a key twice": Broken(
        "key",
        FAILURE,
        ("3 rows have 2 different keys",),
        table=replace(CUSTOMERS, type="VIEW", constraints=()),
        rows=(customer(1), customer(2), customer(2)),
    ),
    "a time zone too far west": Broken(
        "time zone",
        WARNING,
        ("h in the future", "VAPTEKESYNC_TIMEZONE"),
        rows=(customer(1, datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=3)),),
    ),
    "no sign-in but a placeholder": Broken(
        "time zone", UNKNOWN, ("by hand",), rows=(customer(1, datetime(1900, 1, 1)),)
    ),
    "a table that is too large to look for the newest sign-in": Broken(
        "time zone",
        UNKNOWN,
        ("did not answer within 3 s", "by hand"),
        {"mssql_timeout": 3},
        break_server=lambda server: server.set_fault("silent", statement="newest"),
    ),
    "an empty table": Broken("plan", WARNING, ("is empty", "VAPTEKESYNC_TABLE"), rows=()),
    "a slow plan": Broken(
        "plan",
        FAILURE,
        ("MSSQL_TIMEOUT",),
        {"mssql_timeout": 3},
        break_server=lambda server: server.set_fault("silent", statement="boundaries"),
    ),
    "a row that cannot be selected": Broken(
        "range", WARNING, ("1 rows", "computed"), break_server=lambda server: server.make_unreadable(2)
    ),
    "rows that a transaction holds": Broken(
        "fingerprint",
        WARNING,
        ("did not grant a lock in time", "an import of changes reads"),
        break_server=lambda server: server.set_fault("fail", statement="fingerprints", number=1222, severity=16),
    ),
    "letters that were lost": Broken(
        "cyrillic",
        FAILURE,
        ("FirstName (collation SQL_Latin1_General_CP1_CI_AS)", "nvarchar"),
        table=replace(CUSTOMERS, collation="SQL_Latin1_General_CP1_CI_AS"),
    ),
}


@pytest.mark.parametrize("name", SET_UPS)
async def test_the_fault_is_found_where_it_is_with_its_cure(trusted: tuple[Serve, SettingsFor], name: str) -> None:
    serve, settings_for = trusted
    broken = SET_UPS[name]
    with serve(broken.rows, broken.table, **broken.serving) as server:
        broken.break_server(server)
        found = await examined(settings_for(server, **broken.settings))

    finding = found[broken.check]
    assert finding.status == broken.status
    assert all(words in finding.text for words in broken.words), finding.text
    earlier = list(found)[: list(found).index(broken.check)]
    assert {found[check].status for check in earlier} <= {Status.OK, Status.UNKNOWN}
    assert findings.exit_code(list(found.values())) == 1  # Kafka is not there in any of these set-ups


async def test_what_cannot_be_checked_after_a_failure_is_unknown_and_says_why(
    trusted: tuple[Serve, SettingsFor],
) -> None:
    serve, settings_for = trusted
    with serve([customer(1)]) as server:
        found = await examined(settings_for(server, vaptekesync_password="wrong"))

        assert server.stats.logins_received == 1  # a policy may count refused passwords
    assert {found[check].status for check in ["driver", "server", "tls"]} == {Status.OK}
    assert found["login"].status == Status.FAILURE
    for check in TABLE + DATA:
        assert found[check][:3] == (check, Status.UNKNOWN, "not checked, because `login` has failed")
    assert found["kafka"].status == Status.FAILURE
    assert found["topics"].text == "not checked, because `kafka` has failed"


async def test_no_value_of_a_row_is_shown(trusted: tuple[Serve, SettingsFor]) -> None:
    serve, settings_for = trusted
    with serve([customer(1, NOW)]) as server:
        found = await examined(settings_for(server))

    shown = findings.to_json(list(found.values()))
    assert not any(value in shown for value in ("Виктор", "Ёлкин", "8907", "2026-11-23"))


ROWVERSION = replace(CUSTOMERS, columns=(*CUSTOMERS.columns, Column("Version", SqlType("timestamp", -1))))


@pytest.mark.parametrize("table", [CUSTOMERS, ROWVERSION], ids=["no rowversion", "a rowversion"])
async def test_a_good_set_up_is_all_ok(
    trusted: tuple[Serve, SettingsFor], kafka_server: Kafka, driver: str, table: Table
) -> None:
    serve, settings_for = trusted
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    rows = [customer(key) + (None,) * (len(table.columns) - 9) for key in range(25_000)]
    with serve(rows, table) as server:
        found = await examined(
            settings_for(server, vaptekesync_driver=driver, kafka_bootstrap_servers=kafka_server.bootstrap)
        )

    assert list(found) == [*CONNECTION, *TABLE, *DATA, "kafka", "topics"]
    assert {name: finding.text for name, finding in found.items() if finding.status != Status.OK} == {}
    assert findings.exit_code(list(found.values())) == 0
    assert ("version shows" in found["rowversion"].text) == (table is ROWVERSION)
    assert "25,000 rows in 3 ranges" in found["plan"].text
    assert sum(finding.seconds for finding in found.values()) < 30


def test_the_command_shows_a_line_for_each_check_and_fails(
    trusted: tuple[Serve, SettingsFor], command: Command
) -> None:
    serve, settings_for = trusted
    with serve([customer(1)]) as server:
        done = command("doctor", settings_for(server, vaptekesync_table="Clients"))

    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 5 + ["failure"] + ["unknown"] * 9 + ["failure", "unknown"]
    assert lines[5].startswith("failure  table        table dbo.Clients does not exist")
    assert done.returncode == 1
    assert done.stderr == ""


async def test_the_command_writes_json(
    trusted: tuple[Serve, SettingsFor], command: Command, kafka_server: Kafka
) -> None:
    serve, settings_for = trusted
    await create_topics.create(TopicsSettings(kafka_bootstrap_servers=kafka_server.bootstrap))
    with serve([customer(1)]) as server:
        settings = settings_for(server, kafka_bootstrap_servers=kafka_server.bootstrap)
        done = await asyncio.to_thread(command, "doctor --json", settings)

    shown = json.loads(done.stdout)
    assert [each["check"] for each in shown] == [check.name for check in examination.CHECKS]
    assert {each["status"] for each in shown} == {"ok"}
    assert all(each["text"] and each["seconds"] >= 0 for each in shown)
    assert done.returncode == 0


def test_the_command_writes_a_script_without_a_server(
    serve: Serve, settings_for: SettingsFor, command: Command
) -> None:
    with serve() as server:
        settings = settings_for(server, vaptekesync_table="Cli]ents", vaptekesync_user="O'Hara")
    done = command("doctor --sql", settings, VAPTEKESYNC_PASSWORD="")

    assert done.stdout == admin_script.script(settings)
    assert "GRANT SELECT ON [dbo].[Cli]]ents] TO [O'Hara];" in done.stdout
    assert "USER_ID(N'O''Hara')" in done.stdout
    assert "CREATE UNIQUE INDEX [UX_Cli]]ents_ID] ON [dbo].[Cli]]ents] ([ID]);" in done.stdout
    assert settings.vaptekesync_password.get_secret_value() not in done.stdout
    assert done.returncode == 0


def test_an_unknown_field_of_the_columns_is_named_with_the_known_ones(
    serve: Serve, settings_for: SettingsFor, command: Command
) -> None:
    with serve() as server:
        done = command("doctor --sql", settings_for(server), VAPTEKESYNC_COLUMNS='{"town": "Town"}')

    assert done.stderr.startswith("configuration: VAPTEKESYNC_COLUMNS: unknown name town; use id, phone, firstname, ")


OURS, OTHER = topics.IMPORT_TASKS.name, topics.CUSTOMERS.name
HARMLESS, HARMFUL = Difference("retention", is_harmful=False), Difference("compaction", is_harmful=True)


@pytest.mark.parametrize(
    ("differences", "status", "words"),
    [
        (Differences([], [], []), Status.OK, "8 topics"),
        (Differences([OURS, OTHER], [], []), Status.FAILURE, f"not see them: {OURS}; run `vapteke-topics`"),
        (Differences([OTHER], [], []), Status.UNKNOWN, "as the user `operator`"),
        (Differences([], [OURS], []), Status.UNKNOWN, "as the user `operator`"),
        (Differences([], [OURS], [HARMLESS]), Status.WARNING, "retention"),
        (Differences([], [], [HARMLESS, HARMFUL]), Status.FAILURE, "compaction"),
    ],
    ids=["as declared", "missing", "another's is not visible", "not visible", "harmless", "harmful"],
)
async def test_topics_that_differ_are_named(
    serve: Serve, settings_for: SettingsFor, differences: Differences, status: Status, words: str
) -> None:
    with serve() as server:
        verdict = await kafka_checks.topics(Subject(settings_for(server), topics=differences))

    assert verdict.status == status
    assert words in verdict.text


def finding(status: Status) -> Finding:
    return Finding("server", status, "", 0)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([Status.OK], 0),
        ([Status.OK, Status.WARNING], 2),
        ([Status.OK, Status.UNKNOWN], 2),
        ([Status.WARNING, Status.UNKNOWN, Status.FAILURE], 1),
    ],
)
def test_the_exit_code_is_0_only_when_all_is_ok(statuses: list[Status], code: int) -> None:
    assert findings.exit_code([finding(status) for status in statuses]) == code

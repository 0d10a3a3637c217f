"""Settings from the environment, and the one line that ends a start with wrong ones."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from legacy_importer.settings import LegacySettings, WorkSettings
from vapteke_shared.process.settings import (
    HttpSettings,
    KafkaSettings,
    PostgresOwnerSettings,
    PostgresSettings,
    Settings,
    load,
)

SECRET = "s3cret-v4lue"
RIGHT = {
    "VAPTEKESYNC_HOST": "192.168.123.205",
    "VAPTEKESYNC_DB": "vAptekeSync",
    "VAPTEKESYNC_USER": "vaptekesync_user",
    "VAPTEKESYNC_PASSWORD": SECRET,
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092, kafka-2:9092,",
}
Environment = Callable[..., None]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`environment(NAME=value)`: the right variables, with some changed; None takes one away."""
    monkeypatch.chdir(tmp_path_factory.mktemp("no-dot-env"))

    def set_all(**changed: str | None) -> None:
        for name in list(os.environ):
            if name.startswith(("VAPTEKESYNC_", "MSSQL_", "KAFKA_", "POSTGRES_", "METRICS_", "LOG_LEVEL", "CORS_")):
                monkeypatch.delenv(name)
        for name, value in (RIGHT | changed).items():
            if value is not None:
                monkeypatch.setenv(name, value)

    return set_all


def line_of(kind: type[Settings]) -> str:
    with pytest.raises(SystemExit) as ended:
        load(kind)
    assert isinstance(ended.value.code, str)
    return ended.value.code


def test_the_required_variables_are_enough(environment: Environment) -> None:
    environment()

    settings = load(WorkSettings)

    assert settings.kafka_bootstrap_servers == ["kafka-1:9092", "kafka-2:9092"]
    assert (settings.mssql_timeout, settings.mssql_retries_count, settings.mssql_retries_sleep) == (30, 2, 30)
    assert (settings.vaptekesync_port, settings.vaptekesync_timezone) == (1433, "UTC")
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_or_empty_variable_is_named(environment: Environment, name: str, value: str | None) -> None:
    environment(**{name: value})

    line = line_of(WorkSettings)

    assert line.startswith(f"configuration: {name}: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VAPTEKESYNC_PORT", SECRET),
        ("VAPTEKESYNC_PORT", "70000"),
        ("VAPTEKESYNC_HOST", "   "),
        ("VAPTEKESYNC_ENCRYPT", SECRET),
        ("VAPTEKESYNC_TRUST_SERVER_CERTIFICATE", SECRET),
        ("VAPTEKESYNC_TIMEZONE", SECRET),
        ("VAPTEKESYNC_TIMEZONE", "Europe"),
        ("VAPTEKESYNC_TIMEZONE", "../../etc/passwd"),
        ("VAPTEKESYNC_COLUMNS", "{" + SECRET),
        ("VAPTEKESYNC_COLUMNS", f'["{SECRET}"]'),
        ("VAPTEKESYNC_COLUMNS", '{"id": ""}'),
        ("VAPTEKESYNC_COLUMNS", '{"identity": "ID"}'),
        ("VAPTEKESYNC_GENDERS", f'{{"M": "{SECRET}"}}'),
        ("VAPTEKESYNC_GENDERS", f'{{"M": ["{SECRET}"], "F": ["{SECRET.upper()} "]}}'),
        ("VAPTEKESYNC_GENDERS", f'{{"M": ["{SECRET}"], "F": ["{SECRET}\u200b"]}}'),
        ("MSSQL_TIMEOUT", SECRET),
        ("MSSQL_TIMEOUT", "0"),
        ("MSSQL_TIMEOUT", "inf"),
        ("MSSQL_TIMEOUT", "nan"),
        ("MSSQL_RETRIES_COUNT", "-1"),
        ("MSSQL_RETRIES_COUNT", "2.5"),
        ("MSSQL_RETRIES_SLEEP", "-1"),
        ("MSSQL_RETRIES_SLEEP", "1e12"),
        ("KAFKA_BOOTSTRAP_SERVERS", " , "),
        ("KAFKA_BOOTSTRAP_SERVERS", f"kafka:{SECRET}"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:99999"),
        ("KAFKA_BOOTSTRAP_SERVERS", f"{SECRET}..example.org:9092"),
        ("VAPTEKESYNC_HOST", f"{SECRET}..example.org"),
        ("METRICS_HOST", f"{SECRET}.{'a' * 64}"),
        ("LOG_LEVEL", SECRET),
        ("METRICS_PORT", "0"),
    ],
)
def test_an_invalid_value_is_never_shown(environment: Environment, name: str, value: str) -> None:
    environment(**{name: value})

    line = line_of(WorkSettings)

    assert line.startswith(f"configuration: {name}")
    assert SECRET not in line
    assert "\n" not in line


ORIGINS = "https://shop.example.com, http://localhost:3000,http://[::1]:5173,"


def test_exact_origins_are_allowed(environment: Environment) -> None:
    environment(CORS_ALLOWED_ORIGINS=ORIGINS)

    assert load(HttpSettings).cors_allowed_origins == [
        "https://shop.example.com",
        "http://localhost:3000",
        "http://[::1]:5173",
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "shop.example.com",
        "https://shop.example.com/",
        "https://shop.example.com/page",
        "https://*.example.com",
        "https://Shop.example.com",
        "https://user@shop.example.com",
        "https://shop.example.com:443",
        "http://shop.example.com:80",
        "https://магазин.example.com",
        "ftp://shop.example.com",
        "https://shop.example.com https://other.example.com",
    ],
)
def test_an_origin_that_no_browser_sends_ends_the_start(environment: Environment, origin: str) -> None:
    environment(CORS_ALLOWED_ORIGINS=f"https://right.example.com,{origin}")

    line = line_of(HttpSettings)

    assert line.startswith("configuration: CORS_ALLOWED_ORIGINS")
    assert "\n" not in line
    assert origin == "*" or origin not in line


def test_all_wrong_variables_are_named_at_once(environment: Environment) -> None:
    environment(VAPTEKESYNC_HOST=None, MSSQL_TIMEOUT="soon", KAFKA_BOOTSTRAP_SERVERS=None)

    line = line_of(WorkSettings)

    assert all(name in line for name in ("VAPTEKESYNC_HOST", "MSSQL_TIMEOUT", "KAFKA_BOOTSTRAP_SERVERS"))


def test_columns_and_genders_are_mapped_from_json(environment: Environment) -> None:
    environment(
        VAPTEKESYNC_COLUMNS='{"id": "Код", "phone": "Телефон"}', VAPTEKESYNC_GENDERS='{"M": ["м"], "F": ["ж", "д"]}'
    )

    settings = load(LegacySettings)

    assert (settings.vaptekesync_columns.id, settings.vaptekesync_columns.phone) == ("Код", "Телефон")
    assert settings.vaptekesync_columns.email == "Email"
    assert settings.vaptekesync_genders.model_dump() == {"M": ["м"], "F": ["ж", "д"]}


def test_a_process_ignores_the_variables_of_others(environment: Environment) -> None:
    environment(VAPTEKESYNC_HOST=None, VAPTEKESYNC_PASSWORD=None, POSTGRES_HOST=None)

    assert load(KafkaSettings).kafka_bootstrap_servers == ["kafka-1:9092", "kafka-2:9092"]


def test_the_variables_of_the_schema_owner_are_required_by_name(environment: Environment) -> None:
    names = ("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_OWNER_USER")
    environment(POSTGRES_OWNER_PASSWORD=SECRET)

    line = line_of(PostgresOwnerSettings)

    assert all(f"{name}: Field required" in line for name in names)
    assert SECRET not in line


def test_the_environment_overrides_a_dot_env_file(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(VAPTEKESYNC_HOST=None)
    with open(".env", "w", encoding="utf-8") as file:
        file.write("VAPTEKESYNC_HOST=from-the-file\nVAPTEKESYNC_DB=not-this-one\nUNKNOWN=1\n")

    settings = load(LegacySettings)

    assert (settings.vaptekesync_host, settings.vaptekesync_db) == ("from-the-file", "vAptekeSync")


@pytest.fixture
def authority(tmp_path: Path) -> str:
    trustme.CA().cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "authority.pem")


LOGIN = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USERNAME": "somebody", "KAFKA_SASL_PASSWORD": SECRET}


@pytest.mark.parametrize("name", LOGIN)
@pytest.mark.parametrize("value", [None, ""])
def test_sasl_requires_mechanism_user_and_password(environment: Environment, name: str, value: str | None) -> None:
    environment(KAFKA_SECURITY_PROTOCOL="SASL_SSL", **LOGIN | {name: value})

    line = line_of(KafkaSettings)

    assert line == f"configuration: {name}: is required with KAFKA_SECURITY_PROTOCOL=SASL_SSL"


def test_an_empty_variable_counts_as_unset(environment: Environment) -> None:
    environment(**dict.fromkeys([*LOGIN, "KAFKA_SECURITY_PROTOCOL", "KAFKA_SSL_CAFILE", "VAPTEKESYNC_TIMEZONE"], ""))

    settings = load(WorkSettings)

    assert (settings.kafka_security_protocol, settings.kafka_ssl_cafile) == ("PLAINTEXT", None)
    assert (settings.kafka_sasl_username, settings.vaptekesync_timezone) == (None, "UTC")


def test_login_and_authority_are_accepted(environment: Environment, authority: str) -> None:
    environment(KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SSL_CAFILE=authority, **LOGIN)

    settings = load(KafkaSettings)

    assert (settings.kafka_sasl_username, settings.kafka_ssl_cafile) == ("somebody", authority)
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "is not a PEM file of certificates"),
        (SECRET, "is not a PEM file of certificates"),
    ],
    ids=["missing", "empty", "rubbish"],
)
def test_a_file_without_certificates_is_reported(
    environment: Environment, tmp_path: Path, content: str | None, fault: str
) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    environment(KAFKA_SSL_CAFILE=str(file))

    assert line_of(KafkaSettings) == f"configuration: KAFKA_SSL_CAFILE: {fault}"


@pytest.mark.parametrize("name", ["KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM"])
def test_a_word_that_kafka_does_not_know_is_reported(environment: Environment, name: str) -> None:
    environment(**{name: SECRET})

    line = line_of(KafkaSettings)

    assert line.startswith(f"configuration: {name}: Input should be ")
    assert SECRET not in line


POSTGRES = {"POSTGRES_DB": "d", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": SECRET}


@pytest.mark.parametrize(
    ("host", "port", "servers"),
    [
        ("db", None, [("db", 5432)]),
        ("db-1, db-2", None, [("db-1", 5432), ("db-2", 5432)]),
        ("db-1,db-2", "6000", [("db-1", 6000), ("db-2", 6000)]),
        ("db-1,db-2", "6000, 6001", [("db-1", 6000), ("db-2", 6001)]),
        ("::1", "6000", [("::1", 6000)]),
    ],
)
def test_postgres_may_have_several_hosts(
    environment: Environment, host: str, port: str | None, servers: list[tuple[str, int]]
) -> None:
    environment(**POSTGRES, POSTGRES_HOST=host, POSTGRES_PORT=port)

    assert load(PostgresSettings).postgres_servers == servers


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("a,b,c", "1,2", "POSTGRES_PORT: must be one port, or as many ports as POSTGRES_HOST has hosts"),
        ("a", "1,2", "POSTGRES_PORT: must be one port, or as many ports as POSTGRES_HOST has hosts"),
        (",", "1", "POSTGRES_HOST: "),
    ],
)
def test_hosts_and_ports_that_do_not_match_are_named(environment: Environment, host: str, port: str, text: str) -> None:
    environment(**POSTGRES, POSTGRES_HOST=host, POSTGRES_PORT=port)

    assert text in line_of(PostgresSettings)


@pytest.mark.parametrize(
    "host",
    ["db:5432", "[::1]:5432", "postgres://db", "db..example.org", ".", "a" * 64, "'db'", '"db"', "\ufeffdb", "db 1"],
)
def test_a_host_that_can_never_be_found_ends_the_start(environment: Environment, host: str) -> None:
    environment(**POSTGRES, POSTGRES_HOST=f"right.example.org,{host}")

    line = line_of(PostgresSettings)

    assert line.startswith("configuration: POSTGRES_HOST.1: ")
    assert "\n" not in line


@pytest.mark.parametrize(
    "host",
    [
        "db_1.example.org.",
        "DB-1",
        "пример.рф",
        "[::1]",
        "fe80::1%eth0",
        "/var/run/postgresql",
        "sql\\INSTANCE",
        "tcp:sql",
    ],
)
def test_hosts_of_every_kind_are_accepted(environment: Environment, host: str) -> None:
    environment(VAPTEKESYNC_HOST=host)

    assert load(LegacySettings).vaptekesync_host == host.strip("[]")

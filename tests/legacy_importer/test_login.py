"""Connecting to vAptekeSync with both drivers: every cause of a failure has its own text, and no password leaks."""

import socket
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tls
from legacy_importer import legacy
from legacy_importer.legacy_errors import LegacyMisconfigured, LegacyUnavailable
from legacy_importer.login import connect
from legacy_importer.settings import WorkSettings
from vapteke_local.vaptekesync import Encryption

Serve = Callable[..., Any]
SettingsFor = Callable[..., WorkSettings]
Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def nobody_is_trusted_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets there is undone after it."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "FREETDSCONF"):
        monkeypatch.setenv(name, "/nowhere")


@pytest.fixture
def settings_for(settings_for: SettingsFor) -> SettingsFor:
    """With a deadline that a busy machine keeps too."""
    return partial(settings_for, mssql_timeout=30)


EVERY_ADDRESS = "0.0.0.0"
"""With TLS, Microsoft's driver takes `localhost` for the machine's own name, which may have another address."""


@pytest.fixture
def authority(tmp_path: Path) -> str:
    return tls.authority_file(tmp_path)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def connect_and_read_clock(settings: WorkSettings) -> None:
    async with connect(settings) as connection:
        await legacy.clock(connection)


async def unfit(settings: WorkSettings) -> str:
    with pytest.raises(LegacyMisconfigured) as error:
        await connect_and_read_clock(settings)
    return str(error.value)


async def outage(settings: WorkSettings) -> str:
    with pytest.raises(LegacyUnavailable) as error:
        await connect_and_read_clock(settings)
    return str(error.value)


@pytest.mark.parametrize("is_forced", [False, True])
async def test_a_server_with_a_certificate_of_the_named_authority_is_trusted(
    serve: Serve, settings_for: SettingsFor, driver: str, authority: str, is_forced: bool
) -> None:
    with serve(host=EVERY_ADDRESS, encryption=Encryption(tls.context("trusted"), is_forced)) as server:
        await connect_and_read_clock(
            settings_for(
                server,
                vaptekesync_driver=driver,
                vaptekesync_encrypt="yes",
                vaptekesync_host="localhost",
                vaptekesync_sslrootcert=authority,
            )
        )

        assert server.stats.logins_received == 1


UNTRUSTED = {
    "self-signed": ("not trusted", "VAPTEKESYNC_SSLROOTCERT"),
    "another name": ("another name", "VAPTEKESYNC_CERTIFICATE_HOST"),
    "expired": ("expired", "renew"),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
async def test_a_certificate_that_is_not_good_is_named_with_its_cure_and_gets_no_login(
    serve: Serve, settings_for: SettingsFor, driver: str, authority: str, kind: str
) -> None:
    with serve(host=EVERY_ADDRESS, encryption=Encryption(tls.context(kind))) as server:
        said = await unfit(
            settings_for(
                server,
                vaptekesync_driver=driver,
                vaptekesync_encrypt="yes",
                vaptekesync_host="localhost",
                vaptekesync_sslrootcert=authority,
            )
        )

        assert server.stats.logins_received == 0
    assert said.startswith(f"vAptekeSync at localhost:{server.port} ")
    assert all(words in said for words in UNTRUSTED[kind]), said


async def test_without_a_named_authority_only_those_of_the_system_are_trusted(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve(host=EVERY_ADDRESS, encryption=Encryption(tls.context("trusted"))) as server:
        said = await unfit(
            settings_for(server, vaptekesync_driver=driver, vaptekesync_encrypt="yes", vaptekesync_host="localhost")
        )

        assert server.stats.logins_received == 0
    assert "VAPTEKESYNC_SSLROOTCERT" in said


@pytest.mark.parametrize("kind", UNTRUSTED)
async def test_any_certificate_will_do_when_the_settings_say_so(
    serve: Serve, settings_for: SettingsFor, driver: str, kind: str
) -> None:
    with serve(encryption=Encryption(tls.context(kind))) as server:
        await connect_and_read_clock(
            settings_for(
                server,
                vaptekesync_driver=driver,
                vaptekesync_encrypt="yes",
                vaptekesync_trust_server_certificate=True,
            )
        )


@pytest.mark.parametrize("trusts", [True, False])
async def test_a_server_without_tls_gets_no_login_and_the_text_says_so(
    serve: Serve, settings_for: SettingsFor, driver: str, trusts: bool
) -> None:
    with serve() as server:
        said = await unfit(
            settings_for(
                server,
                vaptekesync_driver=driver,
                vaptekesync_encrypt="yes",
                vaptekesync_trust_server_certificate=trusts,
            )
        )

        assert server.stats.logins_received == 0
    assert "does not support TLS" in said
    assert "VAPTEKESYNC_ENCRYPT=no" in said


@pytest.mark.parametrize("kind", ["TLS 1.0", "TLS 1.1"])
@pytest.mark.parametrize("encrypt", ["no", "yes"])
async def test_old_tls_is_named_for_microsofts_driver_even_without_encryption(
    serve: Serve, settings_for: SettingsFor, authority: str, kind: str, encrypt: str
) -> None:
    with serve(host=EVERY_ADDRESS, encryption=Encryption(tls.context(kind))) as server:
        said = await unfit(
            settings_for(
                server,
                vaptekesync_encrypt=encrypt,
                vaptekesync_host="localhost",
                vaptekesync_sslrootcert=authority,
            )
        )

        assert server.stats.logins_received == 0
    assert "too old" in said
    assert "1.0 or 1.1" in said


@pytest.mark.parametrize("kind", ["TLS 1.0", "TLS 1.1"])
async def test_freetds_verifies_the_certificate_over_old_tls_too(
    serve: Serve, settings_for: SettingsFor, freetds: str, authority: str, kind: str
) -> None:
    with serve(host=EVERY_ADDRESS, encryption=Encryption(tls.context(kind))) as server:
        settings = settings_for(
            server, vaptekesync_driver=freetds, vaptekesync_encrypt="yes", vaptekesync_host="localhost"
        )
        await connect_and_read_clock(settings.model_copy(update={"vaptekesync_sslrootcert": authority}))
        said = await unfit(settings)

        assert server.stats.logins_received == 1
    assert "not trusted" in said


async def test_an_address_is_compared_with_the_name_that_the_settings_give(
    serve: Serve, settings_for: SettingsFor, authority: str
) -> None:
    with serve(encryption=Encryption(tls.context("trusted"))) as server:
        settings = settings_for(server, vaptekesync_encrypt="yes", vaptekesync_sslrootcert=authority)

        assert "VAPTEKESYNC_CERTIFICATE_HOST" in await unfit(settings)
        await connect_and_read_clock(settings.model_copy(update={"vaptekesync_certificate_host": "localhost"}))


async def test_freetds_compares_addresses_itself(
    serve: Serve, settings_for: SettingsFor, freetds: str, authority: str
) -> None:
    with serve(encryption=Encryption(tls.context("trusted by address"))) as server:
        await connect_and_read_clock(
            settings_for(
                server, vaptekesync_driver=freetds, vaptekesync_encrypt="yes", vaptekesync_sslrootcert=authority
            )
        )


async def test_freetds_under_another_name_is_known_for_what_it_is(
    serve: Serve, settings_for: SettingsFor, freetds: str, tmp_path: Path
) -> None:
    alias = tmp_path / "libodbc-sybase.so"
    alias.symlink_to(freetds)
    with serve(encryption=Encryption(tls.context("self-signed"))) as server:
        said = await unfit(settings_for(server, vaptekesync_driver=str(alias), vaptekesync_encrypt="yes"))

        assert server.stats.logins_received == 0
    assert "not trusted" in said


def test_freetds_by_the_name_in_odbcinst_is_known_for_what_it_is(
    serve: Serve, settings_for: SettingsFor, check: Check, freetds: str, tmp_path: Path
) -> None:
    (tmp_path / "odbcinst.ini").write_text(f"[Pharmacy]\nDriver={freetds}\n")
    with serve(encryption=Encryption(tls.context("self-signed"))) as server:
        settings = settings_for(server, vaptekesync_driver="Pharmacy", vaptekesync_encrypt="yes")
        ended = check(settings, ODBCSYSINI=str(tmp_path))

        assert server.stats.logins_received == 0
    assert "not trusted" in ended.stderr


def test_the_check_names_the_cause_in_one_line(
    serve: Serve, settings_for: SettingsFor, check: Check, driver: str
) -> None:
    with serve(encryption=Encryption(tls.context("self-signed"))) as server:
        ended = check(settings_for(server, vaptekesync_driver=driver, vaptekesync_encrypt="yes"))

    assert ended.returncode == 1
    assert "VAPTEKESYNC_SSLROOTCERT" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


async def test_no_server_at_the_port_is_an_outage_reported_at_once(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        settings = settings_for(server, vaptekesync_driver=driver, vaptekesync_port=closed_port())

    for host in ("127.0.0.1", "localhost"):
        started = time.monotonic()
        said = await outage(settings.model_copy(update={"vaptekesync_host": host}))

        assert "refused the connection" in said
        assert time.monotonic() - started < settings.mssql_timeout / 3


async def test_a_host_name_that_is_not_there_is_reported_at_once(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        settings = settings_for(server, vaptekesync_driver=driver, vaptekesync_host="vaptekesync.invalid")

        started = time.monotonic()
        with pytest.raises(
            (LegacyMisconfigured, LegacyUnavailable)
        ) as error:  # without a name server it may be an outage
            await connect_and_read_clock(settings)

    assert "is not found" in str(error.value)
    assert "VAPTEKESYNC_HOST" in str(error.value)
    assert time.monotonic() - started < settings.mssql_timeout / 3


@pytest.mark.parametrize("state", ["RECOVERING", "RESTORING", "RECOVERY_PENDING", "OFFLINE"])
async def test_a_database_that_is_not_online_yet_is_an_outage(
    serve: Serve, settings_for: SettingsFor, driver: str, state: str
) -> None:
    with serve() as server:
        server.set_database(state)
        said = await outage(settings_for(server, vaptekesync_driver=driver))

    assert server.database in said
    assert state in said


@pytest.mark.parametrize("access", ["SINGLE_USER", "RESTRICTED_USER"])
async def test_a_database_kept_by_its_administrators_is_an_outage(
    serve: Serve, settings_for: SettingsFor, driver: str, access: str
) -> None:
    with serve() as server:
        server.set_database(access=access)
        said = await outage(settings_for(server, vaptekesync_driver=driver))

    assert access in said


async def test_a_database_that_came_online_while_its_state_was_asked_is_used(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        server.set_fault("fail", before="login", number=4060 if not driver else 18456)
        await connect_and_read_clock(settings_for(server, vaptekesync_driver=driver))

        assert server.stats.statements["databases"] == 1


async def test_a_database_that_is_online_and_closed_to_the_login_is_not_retried(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve() as server:
        server.set_fault("fail", before="login", number=4060)
        server.set_fault("fail", before="login", number=4060, nth=3)
        said = await unfit(settings_for(server))

    assert "does not let this login open the database" in said


async def test_a_wrong_database_is_distinguished_from_a_wrong_login(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        said = await unfit(settings_for(server, vaptekesync_driver=driver, vaptekesync_db="Other"))

    assert "has no database Other" in said
    assert "VAPTEKESYNC_DB" in said


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (911, "VAPTEKESYNC_DB"),
        (916, "no user in the database"),
        (17892, "logon trigger"),
        (18452, "untrusted domain"),
        (18456, "refused the login"),
        (18470, "disabled"),
        (18486, "locked out"),
        (18487, "password has expired"),
        (18488, "password must be changed"),
        (40615, "firewall"),
    ],
)
async def test_a_login_that_cannot_succeed_is_reported_with_its_remedy(
    serve: Serve, settings_for: SettingsFor, driver: str, number: int, words: str
) -> None:
    with serve() as server:
        server.set_fault("fail", before="login", number=number, severity=14, times=None)
        said = await unfit(settings_for(server, vaptekesync_driver=driver))

    assert words in said
    assert said.startswith(f"vAptekeSync at {server.host}:{server.port}")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (904, "starting"),
        (922, "recovering"),
        (924, "single-user"),
        (927, "restoring"),
        (983, "changing its role"),
        (4060, "cannot open the database"),
        (4064, "cannot open the database"),
        (6005, "shutting down"),
        (17142, "paused"),
        (17809, "connections"),
        (18451, "only administrators"),
        (18461, "single-user"),
        (40613, "not have the database available"),
    ],
)
async def test_a_server_that_lets_nobody_in_for_now_is_an_outage(
    serve: Serve, settings_for: SettingsFor, driver: str, number: int, words: str
) -> None:
    with serve() as server:
        server.set_fault("fail", before="login", number=number, severity=14, times=None)
        said = await outage(settings_for(server, vaptekesync_driver=driver))

    assert words in said
    assert f"(error {number})" in said


@pytest.mark.parametrize(("number", "words"), [(229, "reading the table is not permitted"), (230, "reading a column")])
async def test_a_read_that_is_not_permitted_names_what_to_grant(
    serve: Serve, settings_for: SettingsFor, driver: str, number: int, words: str
) -> None:
    with serve() as server:
        server.set_fault("fail", statement="clock", number=number, severity=14)
        said = await unfit(settings_for(server, vaptekesync_driver=driver))

    assert words in said
    assert "grant SELECT" in said


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (596, "ended the session (error 596): "),
        (824, "found a damaged page (error 824): "),
        (1205, "the victim of a deadlock (error 1205)"),
        (1222, "did not grant a lock in time (error 1222)"),
        (7391, "answered with an error (SQLSTATE 42000, error 7391): "),
    ],
)
async def test_an_error_of_a_statement_is_not_reported_as_a_lost_connection(
    serve: Serve, settings_for: SettingsFor, driver: str, number: int, words: str
) -> None:
    with serve() as server:
        server.set_fault("fail", statement="clock", number=number, text="certificate has expired", severity=14)
        said = await outage(settings_for(server, vaptekesync_driver=driver))

    assert words in said


async def test_a_view_that_cannot_be_used_is_not_retried(serve: Serve, settings_for: SettingsFor, driver: str) -> None:
    with serve() as server:
        server.set_fault("fail", statement="clock", number=4413, severity=16)
        said = await unfit(settings_for(server, vaptekesync_driver=driver))

    assert "the view no longer fits the tables that it reads (error 4413): " in said


async def test_a_number_in_the_text_of_an_error_is_not_taken_for_its_own(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        server.set_fault("fail", statement="clock", number=1205, text="The value (18487) is in (229).", severity=13)
        said = await outage(settings_for(server, vaptekesync_driver=driver))

    assert "1205" in said


async def test_extra_keywords_reach_the_driver_and_replace_ours(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve() as server:
        options = (
            "MultiSubnetFailover=Yes; applicationintent=ReadWrite;" if not driver else "ApplicationIntent=ReadOnly"
        )
        await connect_and_read_clock(settings_for(server, vaptekesync_driver=driver, vaptekesync_odbc_options=options))


async def test_a_value_that_the_driver_rejects_is_reported_by_its_variable(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve() as server:
        said = await unfit(settings_for(server, vaptekesync_odbc_options="MultiSubnetFailover=perhaps"))

    assert "VAPTEKESYNC_ODBC_OPTIONS" in said


@pytest.mark.parametrize("kind", ["TLS 1.0", "TLS 1.1"])
def test_the_documented_openssl_configuration_makes_old_tls_do(
    serve: Serve, settings_for: SettingsFor, check: Check, authority: str, kind: str
) -> None:
    configuration = Path(__file__).parents[2] / "deploy" / "openssl-old-tls.cnf"
    with serve(host=EVERY_ADDRESS, encryption=Encryption(tls.context(kind))) as server:
        settings = settings_for(
            server,
            vaptekesync_encrypt="yes",
            vaptekesync_host="localhost",
            vaptekesync_sslrootcert=authority,
        )
        ended = check(settings, OPENSSL_CONF=str(configuration))

        assert server.stats.logins_received == 1, ended.stderr
    assert ended.returncode == 0


async def test_strict_encryption_with_an_older_server_is_named_as_a_possible_cause(
    serve: Serve, settings_for: SettingsFor
) -> None:
    with serve(encryption=Encryption(tls.context("trusted"))) as server:
        said = await outage(settings_for(server, vaptekesync_encrypt="strict"))

        assert server.stats.logins_received == 0
    assert "VAPTEKESYNC_ENCRYPT=strict needs SQL Server 2022" in said


async def test_a_silent_server_with_tls_is_reported_by_the_deadline(
    serve: Serve, settings_for: SettingsFor, driver: str
) -> None:
    with serve(encryption=Encryption(tls.context("trusted"))) as server:
        server.set_fault("silent")
        settings = settings_for(server, vaptekesync_driver=driver, vaptekesync_encrypt="yes", mssql_timeout=3)

        started = time.monotonic()
        said = await outage(settings)

    assert "did not answer within 3 s" in said
    assert time.monotonic() - started < 2 * settings.mssql_timeout  # one deadline, not one for each question


def test_the_event_loop_of_the_processes_connects_too(serve: Serve, settings_for: SettingsFor) -> None:
    uvloop = pytest.importorskip("uvloop")
    with serve() as server:
        uvloop.run(connect_and_read_clock(settings_for(server)))

        assert server.stats.logins_received == 1

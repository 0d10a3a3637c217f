"""Extra keywords for the driver: they may tune a connection, but never redirect it."""

from typing import Any

import pytest
from legacy_importer import odbc_options
from legacy_importer.settings import LegacySettings
from vapteke_shared.process.settings import load

REQUIRED = {
    "vaptekesync_host": "vaptekesync.example.com",
    "vaptekesync_db": "vAptekeSync",
    "vaptekesync_user": "reader",
    "vaptekesync_password": "made-up-password",
}

FORBIDDEN = (
    "UID uid Uid User UserID PWD Pwd Password Server SERVER Servername Server_Name Addr Address "
    "NetworkAddress Net Network Port Driver DSN FileDSN SaveFile Database AttachDBFileName Encrypt encrypt "
    "Encryption TrustServerCertificate trustservercertificate Trusted_Connection HostNameInCertificate "
    "ServerCertificate ClientCertificate ClientKey Authentication ServerSPN Failover_Partner "
    "FailoverPartnerSPN KeystoreAuthentication KeystorePrincipalId KeystoreSecret ColumnEncryption "
    "AccessToken TDS_Version ClientCharset DumpFile UseNTLMv2 REALM"
)


def refusal(**changed: Any) -> str:
    with pytest.raises(SystemExit) as end:
        load(LegacySettings, **(REQUIRED | changed))
    return str(end.value)


@pytest.mark.parametrize(
    ("options", "parsed"),
    [
        ("", {}),
        (" ", {}),
        ("MultiSubnetFailover=Yes", {"MultiSubnetFailover": "Yes"}),
        ("MultiSubnetFailover=Yes;", {"MultiSubnetFailover": "Yes"}),
        (
            " ApplicationIntent = ReadOnly ; KeepAlive=60;IpAddressPreference=IPv6First",
            {"ApplicationIntent": "ReadOnly", "KeepAlive": "60", "IpAddressPreference": "IPv6First"},
        ),
        ("TransparentNetworkIPResolution=Disabled;KeepAliveInterval=5", None),
        ("MARS_Connection=no;WSID=importer 1;PacketSize=8192;Language=us_english;ConnectRetryInterval=5", None),
    ],
)
def test_harmless_keywords_are_taken(options: str, parsed: dict[str, str] | None) -> None:
    taken = odbc_options.parse(options)

    assert taken == parsed or (parsed is None and len(taken) == options.count("="))


@pytest.mark.parametrize(
    "keyword",
    FORBIDDEN.split(),
)
def test_a_keyword_that_has_a_variable_of_its_own_ends_the_start(keyword: str) -> None:
    for options in (f"{keyword}=sesame", f"MultiSubnetFailover=Yes;{keyword} = sesame", f" {keyword}=sesame;"):
        said = refusal(vaptekesync_odbc_options=options)

        assert said.startswith("configuration: VAPTEKESYNC_ODBC_OPTIONS: ")
        assert "have variables of their own" in said
        assert "sesame" not in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        "sesame",
        "KeepAlive",
        "KeepAlive=",
        "=sesame",
        ";KeepAlive=60",
        "KeepAlive=60;;WSID=a",
        "KeepAlive={60};PWD=sesame",
        "KeepAlive={60;PWD=sesame}",
        "KeepAlive=}60",
        "{KeepAlive}=60",
        "KeepAlive=60=70",
        "KeepAlive=60\nPWD=sesame",
        "KeepAlive=60\x00;WSID=a",
        "ＵＩＤ=sesame",
        "Keep.Alive=60",
        "KeepAlive=60;keepalive=70",
    ],
)
def test_what_is_no_list_of_keywords_ends_the_start(options: str) -> None:
    said = refusal(vaptekesync_odbc_options=options)

    assert said.startswith("configuration: VAPTEKESYNC_ODBC_OPTIONS: ")
    assert "sesame" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("changed", "variable"),
    [
        ({"vaptekesync_encrypt": "strict"}, "VAPTEKESYNC_ENCRYPT"),
        ({"vaptekesync_certificate_host": "sql.example.com"}, "VAPTEKESYNC_CERTIFICATE_HOST"),
    ],
)
def test_what_freetds_cannot_keep_ends_the_start(changed: dict[str, Any], variable: str) -> None:
    said = refusal(vaptekesync_driver="FreeTDS", **changed)

    assert said.startswith(f"configuration: {variable}: ")
    assert "FreeTDS" in said


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_ends_the_start(tmp_path: Any, content: str | None) -> None:
    file = tmp_path / "authority.pem"
    if content:
        file.write_text(content)

    said = refusal(vaptekesync_sslrootcert=str(file))

    assert said.startswith("configuration: VAPTEKESYNC_SSLROOTCERT: ")

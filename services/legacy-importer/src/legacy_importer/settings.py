"""The settings of legacy-importer; `docs/configuration.md` lists them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from vapteke_shared.contract import texts
from vapteke_shared.process.settings import (
    Certificates,
    ConsumerSettings,
    Host,
    MetricsSettings,
    Port,
    Secret,
    Text,
    TimeZone,
)

from legacy_importer import odbc_driver, odbc_options
from legacy_importer.columns import Columns


class Genders(BaseModel):
    """How the legacy table spells each gender; case and surrounding spaces do not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    M: list[str] = ["м", "m", "муж", "муж.", "мужской", "male", "1"]
    F: list[str] = ["ж", "f", "жен", "жен.", "женский", "female", "2"]

    @model_validator(mode="after")
    def _have_no_common_spelling(self) -> "Genders":
        spellings = [{texts.cleaned(spelling).casefold() for spelling in side} for side in (self.M, self.F)]
        if spellings[0] & spellings[1]:
            raise ValueError("M and F have a spelling in common")
        return self


class LegacySettings(MetricsSettings):
    """How to reach vAptekeSync, and what its table looks like."""

    vaptekesync_host: Host = Field(description="vAptekeSync: host")
    vaptekesync_port: Port = Field(1433, description="vAptekeSync: port")
    vaptekesync_db: Text = Field(description="vAptekeSync: database")
    vaptekesync_user: Text = Field(description="vAptekeSync: user; it needs SELECT on the one table and nothing else")
    vaptekesync_password: Secret = Field(description="vAptekeSync: password of that user")
    vaptekesync_driver: str = Field(
        "",
        description="name or path of the ODBC driver; empty: Microsoft's, from its wheel; FreeTDS is the fallback",
    )
    vaptekesync_encrypt: Literal["yes", "no", "strict"] = Field("yes", description="TLS to vAptekeSync")
    vaptekesync_trust_server_certificate: bool = Field(False, description="accept any certificate from vAptekeSync")
    vaptekesync_sslrootcert: Certificates | None = Field(
        None,
        description="PEM file of the authority that signs vAptekeSync's certificate; empty: the system's authorities",
    )
    vaptekesync_certificate_host: Text | None = Field(
        None, description="the DNS name in vAptekeSync's certificate; empty: VAPTEKESYNC_HOST"
    )
    vaptekesync_odbc_options: Annotated[str, AfterValidator(odbc_options.checked)] = Field(
        "", description="more keywords for the ODBC driver, such as MultiSubnetFailover=Yes;KeepAlive=60"
    )
    vaptekesync_timezone: TimeZone = Field("UTC", description="time zone of the legacy datetimes, which carry none")
    vaptekesync_schema: Text = Field("dbo", description="schema of the legacy table")
    vaptekesync_table: Text = Field("Customers", description="the legacy table")
    vaptekesync_columns: Columns = Field(Columns(), description="JSON: the table's column for each of our fields")
    vaptekesync_genders: Genders = Field(Genders(), description="JSON: the table's spellings of M and F")
    mssql_timeout: float = Field(
        30,
        gt=0,
        le=3600,
        description="deadline for each attempt to connect, each statement and each page of rows, seconds",
    )
    mssql_retries_count: int = Field(2, ge=0, le=100, description="attempts after the first one fails")
    mssql_retries_sleep: float = Field(30, ge=0, le=3600, description="pause between attempts, seconds")

    @field_validator("vaptekesync_encrypt")
    @classmethod
    def _encryption_is_supported(cls, encrypt: str, others: ValidationInfo) -> str:
        if encrypt == "strict" and odbc_driver.is_freetds(others.data.get("vaptekesync_driver", "")):
            raise ValueError("FreeTDS does not support strict encryption: use yes, or Microsoft's driver")
        return encrypt

    @field_validator("vaptekesync_certificate_host")
    @classmethod
    def _certificate_host_is_supported(cls, name: str | None, others: ValidationInfo) -> str | None:
        if name and odbc_driver.is_freetds(others.data.get("vaptekesync_driver", "")):
            raise ValueError("FreeTDS always compares the certificate with VAPTEKESYNC_HOST: leave this empty")
        return name


class WorkSettings(LegacySettings, ConsumerSettings):
    """The settings of `legacy-importer work`."""

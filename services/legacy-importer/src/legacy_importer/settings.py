"""The importer's settings; the README's table says what each is for."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from vapteke_shared.contract import texts
from vapteke_shared.process.settings import Certificates, ConsumerSettings, Host, MetricsSettings, Port, Secret, Text

from legacy_importer import odbc_driver, odbc_options


class Columns(BaseModel):
    """The legacy table's names for what we read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text = "ID"
    phone: Text = "Phone"
    firstname: Text = "FirstName"
    lastname: Text = "LastName"
    email: Text = "Email"
    birthday: Text = "Birthday"
    gender: Text = "Gender"
    city_id: Text = "CityID"
    last_auth_at: Text = "LastAuthAt"


class Genders(BaseModel):
    """The legacy spellings of gender; case and surrounding spaces do not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    M: list[str] = ["м", "m", "муж", "муж.", "мужской", "male", "1"]
    F: list[str] = ["ж", "f", "жен", "жен.", "женский", "female", "2"]

    @model_validator(mode="after")
    def _clear(self) -> "Genders":
        spellings = [{texts.cleaned(spelling).casefold() for spelling in side} for side in (self.M, self.F)]
        if spellings[0] & spellings[1]:
            raise ValueError("M and F have a spelling in common")
        return self


class LegacySettings(MetricsSettings):
    """How vAptekeSync is reached and what its table looks like."""

    vaptekesync_host: Host = Field(description="vAptekeSync: host")
    vaptekesync_port: Port = Field(1433, description="vAptekeSync: port")
    vaptekesync_db: Text = Field(description="vAptekeSync: database")
    vaptekesync_user: Text = Field(description="vAptekeSync: user; reading the one table is all it needs")
    vaptekesync_password: Secret = Field(description="vAptekeSync: its password")
    vaptekesync_driver: str = Field(
        "", description="ODBC driver by name or path; empty: Microsoft's, from its wheel; FreeTDS: the fallback"
    )
    vaptekesync_encrypt: Literal["yes", "no", "strict"] = Field("yes", description="TLS to vAptekeSync")
    vaptekesync_trust_server_certificate: bool = Field(False, description="accept any certificate of vAptekeSync")
    vaptekesync_sslrootcert: Certificates | None = Field(
        None, description="PEM file of who signs vAptekeSync's certificate; none: whom the system trusts"
    )
    vaptekesync_certificate_host: Text | None = Field(
        None, description="the DNS name in vAptekeSync's certificate; none: VAPTEKESYNC_HOST"
    )
    vaptekesync_odbc_options: Annotated[str, AfterValidator(odbc_options.checked)] = Field(
        "", description="more keywords for the ODBC driver, as in MultiSubnetFailover=Yes;KeepAlive=60"
    )
    vaptekesync_timezone: str = Field("UTC", description="the zone of its datetimes, which carry none")
    vaptekesync_schema: Text = Field("dbo", description="schema of the legacy table")
    vaptekesync_table: Text = Field("Customers", description="the legacy table")
    vaptekesync_columns: Columns = Field(Columns(), description="JSON: our names to the table's columns")
    vaptekesync_genders: Genders = Field(Genders(), description="JSON: M and F to the table's spellings")
    mssql_timeout: float = Field(30, gt=0, le=3600, description="deadline of a connect and of each statement, seconds")
    mssql_retries_count: int = Field(2, ge=0, le=100, description="further attempts after a failure")
    mssql_retries_sleep: float = Field(30, ge=0, le=3600, description="pause between attempts, seconds")

    @field_validator("vaptekesync_encrypt")
    @classmethod
    def _can_be_encrypted(cls, encrypt: str, others: ValidationInfo) -> str:
        if encrypt == "strict" and odbc_driver.is_freetds(others.data.get("vaptekesync_driver", "")):
            raise ValueError("FreeTDS has no strict encryption: take yes, or Microsoft's driver")
        return encrypt

    @field_validator("vaptekesync_certificate_host")
    @classmethod
    def _can_be_compared(cls, name: str | None, others: ValidationInfo) -> str | None:
        if name and odbc_driver.is_freetds(others.data.get("vaptekesync_driver", "")):
            raise ValueError("FreeTDS compares the certificate with VAPTEKESYNC_HOST: leave it empty")
        return name

    @field_validator("vaptekesync_timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is no time zone of the IANA database, as Europe/Moscow is") from None
        return name


class WorkSettings(LegacySettings, ConsumerSettings):
    """`legacy-importer work`."""

"""Settings from the environment, else from the file `.env`, else from the secrets folder /run/secrets.

Read settings with `load`: a missing or invalid value then ends the process, with one line that names every such
variable.
"""

import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from vapteke_shared.contract import scopes
from vapteke_shared.process import addresses

_SECRETS = Path("/run/secrets")
_KEY_BYTES = 32  # as long as the digest of HS256
_NO_KEY = "is missing: make one with `openssl rand -base64 48`, the same for all services"

Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
Host = Annotated[Text, AfterValidator(addresses.host)]
Broker = Annotated[str, AfterValidator(addresses.broker)]


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _several(value: object) -> object:
    return [value] if isinstance(value, int) else _split(value)


def _with_certificates(path: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise ValueError("is not a PEM file of certificates") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not in the IANA time zone database; use a name such as Europe/Moscow") from None
    return name


TimeZone = Annotated[str, AfterValidator(_zone)]
Certificates = Annotated[str, AfterValidator(_with_certificates)]


class Settings(BaseSettings):
    """The base class of all settings. The environment variable of a field is the field's name in capitals.

    An empty variable counts as not set. Settings cannot be changed after they were read.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,  # Compose passes an unset variable as an empty one
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
        extra="ignore",
        frozen=True,
    )

    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )


class MetricsSettings(Settings):
    metrics_host: Host = Field("127.0.0.1", description="address of /metrics and the health of workers")
    metrics_port: Port = Field(9100, description="port of /metrics and the health of workers")
    liveness_seconds: float = Field(
        300, gt=0, description="a background loop without a heartbeat for so long turns /health/live red"
    )


_ORIGIN = re.compile(r"(?P<scheme>https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[1-9][0-9]{0,4}))?", re.ASCII)


def _origin(text: str) -> str:
    """`text`, unchanged. Raises ValueError unless `text` is an origin exactly as browsers send origins."""
    parts = _ORIGIN.fullmatch(text)
    if parts is None or (parts["scheme"], parts["port"]) in (("http", "80"), ("https", "443")):
        raise ValueError(
            "is not an origin such as https://shop.example.org: use scheme and host in lower case, a port only when it "
            "is not the scheme's default, no path and no final slash; list each origin, not *"
        )
    return text


Origin = Annotated[str, AfterValidator(_origin)]


class HttpSettings(MetricsSettings):
    http_host: Host = Field("127.0.0.1", description="address of the REST service")
    http_port: Port = Field(8000, description="port of the REST service")
    cors_allowed_origins: Annotated[list[Origin], NoDecode, BeforeValidator(_split)] = Field(
        [], description="web pages from these origins may call the service: exact, comma-separated; none: no page"
    )
    docs_enabled: bool = Field(True, description="serve the documentation pages, to everybody")


class AuthSettings(Settings):
    auth_enabled: bool = Field(
        True,
        description="false: no tokens; everybody who can connect has AUTH_ANONYMOUS_SCOPES: for closed networks only",
    )
    auth_anonymous_scopes: Annotated[
        list[Annotated[str, AfterValidator(scopes.check)]], NoDecode, BeforeValidator(_split)
    ] = Field(
        list(scopes.ANONYMOUS),
        description="with AUTH_ENABLED=false: everybody's scopes, comma-separated; later releases add none to them",
    )
    auth_issuer: Text = Field("vapteke", description="the issuer (`iss`) that tokens must have")
    auth_audience: Text = Field(
        "vapteke",
        description="an audience (`aud`) that every service accepts besides its own name, for older tokens, with a "
        "warning; `none`: only its own name",
    )
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode, BeforeValidator(_split)] = Field(
        [],
        description="addresses or networks of the proxies whose X-Forwarded-For is trusted, comma-separated; none: "
        "the caller's address is the peer's",
    )
    secret_key: Annotated[SecretStr | None, Field(validate_default=True)] = Field(
        None, description=f"signs the bearer tokens: at least {_KEY_BYTES} bytes; required unless AUTH_ENABLED=false"
    )
    secret_key_previous: SecretStr | None = Field(
        None, description="the previous SECRET_KEY, for as long as its tokens and cursors must stay valid"
    )

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if others.data.get("auth_enabled", True):
            if not _bytes_of(key):
                raise ValueError(_NO_KEY)
            _refuse_short(key)
        return key

    @field_validator("secret_key_previous")
    @classmethod
    def _long_enough_or_empty(cls, key: SecretStr | None) -> SecretStr | None:
        """The previous key, or None if it is empty or blank. Raises ValueError when the key is too short.

        A secrets folder has an empty file while there is no previous key.
        """
        if not _bytes_of(key):
            return None
        _refuse_short(key)
        return key

    @property
    def keys(self) -> list[bytes]:
        """The current key and then the previous one, as far as they are set.

        Only with AUTH_ENABLED=false the list may be empty, or the current key too short.
        """
        given = (self.secret_key, self.secret_key_previous)
        return [key.get_secret_value().encode() for key in given if key is not None]


def _bytes_of(key: SecretStr | None) -> int:
    """The key's length in bytes. It is 0 for None and for blanks only, such as the line break of an empty file."""
    text = key.get_secret_value() if key else ""
    return len(text.encode()) if text.strip() else 0


def _refuse_short(key: SecretStr | None) -> None:
    if _bytes_of(key) < _KEY_BYTES:
        raise ValueError(f"must have at least {_KEY_BYTES} bytes")


class KafkaSettings(Settings):
    kafka_bootstrap_servers: Annotated[list[Broker], NoDecode, BeforeValidator(_split), Field(min_length=1)] = Field(
        description="Kafka's brokers: host:port, comma-separated; an IPv6 address in brackets: [::1]:9092"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, validate_default=True, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; required with SASL"
    )
    kafka_sasl_username: Text | None = Field(None, validate_default=True, description="Kafka: user; required with SASL")
    kafka_sasl_password: Secret | None = Field(
        None, validate_default=True, description="Kafka: the user's password; required with SASL"
    )
    kafka_ssl_cafile: Certificates | None = Field(
        None, description="PEM file of the authorities that sign Kafka's certificates; none: the system's authorities"
    )

    @field_validator("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
    @classmethod
    def _given_with_sasl(cls, value: object, others: ValidationInfo) -> object:
        protocol = others.data.get("kafka_security_protocol", "")
        if value is None and protocol.startswith("SASL_"):
            raise ValueError(f"is required with KAFKA_SECURITY_PROTOCOL={protocol}")
        return value


class ConsumerSettings(KafkaSettings):
    kafka_group_instance_id: str | None = Field(
        None, description="a fixed name of this replica: after a restart it gets its partitions back at once"
    )


class PostgresSettings(Settings):
    postgres_host: Annotated[list[Host], NoDecode, BeforeValidator(_several), Field(min_length=1)] = Field(
        description="Postgres: host; or several, comma-separated: the one that accepts writes is used"
    )
    postgres_port: Annotated[list[Port], NoDecode, BeforeValidator(_several), Field(min_length=1)] = Field(
        [5432], description="Postgres: one port for all hosts, or as many ports as hosts, comma-separated"
    )
    postgres_db: Text = Field(description="Postgres: database")
    postgres_user: Text = Field(description="Postgres: the service's role, which owns nothing")
    postgres_password: Secret = Field(description="Postgres: the role's password")
    postgres_sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="TLS to Postgres, as in libpq: disable, prefer, require, verify-ca or verify-full"
    )
    postgres_sslrootcert: Certificates | None = Field(
        None,
        description="PEM file of the authorities that sign Postgres' certificate; none: with verify-… the system's "
        "authorities",
    )

    @field_validator("postgres_port")
    @classmethod
    def _one_or_as_many(cls, ports: list[int], others: ValidationInfo) -> list[int]:
        if len(ports) not in (1, len(others.data.get("postgres_host", ports))):
            raise ValueError("must be one port, or as many ports as POSTGRES_HOST has hosts")
        return ports

    @property
    def postgres_servers(self) -> list[tuple[str, int]]:
        """The host and port of each server, in the order of POSTGRES_HOST. One port counts for all hosts."""
        hosts, ports = self.postgres_host, self.postgres_port
        return list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True))


class ServeSettings(HttpSettings, AuthSettings, PostgresSettings):
    """Settings that `serve` of every REST service reads."""


class WorkSettings(MetricsSettings, ConsumerSettings, PostgresSettings):
    """Settings that `customers-api work` and `favorites-api work` both read."""


class PostgresOwnerSettings(PostgresSettings):
    postgres_owner_user: Text = Field(description="Postgres: the role that owns the schema; for `migrate` only")
    postgres_owner_password: Secret = Field(description="Postgres: the owner's password; for `migrate` only")


S = TypeVar("S", bound=Settings)


def load(kind: type[S], **given: Any) -> S:
    """The settings of the class `kind`: the fields in `given`, and all others from the environment, `.env` or secrets.

    Raises SystemExit with one line that names each missing or invalid variable, but never a value.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        faults = [_fault(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors(include_input=False)]
        raise SystemExit(f"configuration: {'; '.join(faults)}") from None
    except SettingsError as error:  # its text has the field in quotes, and no value
        _, field, _ = str(error).split('"', 2)
        raise SystemExit(f"configuration: {field.upper()}: is not JSON") from None


def _fault(field: str, message: str) -> str:
    """The variable and what is wrong with it, without the prefix that pydantic puts before the text of a ValueError."""
    return f"{field.upper()}: {message.removeprefix('Value error, ')}"

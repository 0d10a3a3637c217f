"""Settings from the environment, a `.env` file or a folder of secrets; a wrong one ends the start with one line."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

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
        raise ValueError("is no PEM file of certificates") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


Certificates = Annotated[str, AfterValidator(_with_certificates)]


class Settings(BaseSettings):
    """The base of every process's settings: a variable is the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,  # Compose passes on what is not set as empty
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
        300, gt=0, description="a background loop that shows no sign of life for so long turns /health/live red"
    )


_ORIGIN = re.compile(r"(?P<scheme>https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[1-9][0-9]{0,4}))?", re.ASCII)


def _origin(text: str) -> str:
    """As a browser sends it, or it would never match."""
    parts = _ORIGIN.fullmatch(text)
    if parts is None or (parts["scheme"], parts["port"]) in (("http", "80"), ("https", "443")):
        raise ValueError(
            "is no origin such as https://shop.example.org: scheme, host and a port that is not the scheme's own, "
            "in lower case, without a path or a final slash; name each one, not *"
        )
    return text


Origin = Annotated[str, AfterValidator(_origin)]


class HttpSettings(MetricsSettings):
    http_host: Host = Field("127.0.0.1", description="address of the REST service")
    http_port: Port = Field(8000, description="port of the REST service")
    cors_allowed_origins: Annotated[list[Origin], NoDecode, BeforeValidator(_split)] = Field(
        [], description="web pages of these origins may call the service: exact, comma-separated; none: no page"
    )
    docs_enabled: bool = Field(True, description="show the documentation pages, to everybody")


class AuthSettings(Settings):
    auth_enabled: bool = Field(
        True,
        description="false: no tokens; everybody who can connect has AUTH_ANONYMOUS_SCOPES: for a closed network alone",
    )
    auth_anonymous_scopes: Annotated[
        list[Annotated[str, AfterValidator(scopes.known)]], NoDecode, BeforeValidator(_split)
    ] = Field(
        list(scopes.ANONYMOUS),
        description="with AUTH_ENABLED=false: everybody's scopes, comma-separated; a later release adds none to them",
    )
    auth_issuer: Text = Field("vapteke", description="the claim `iss` that tokens must have")
    auth_audience: Text = Field(
        "vapteke",
        description="an audience (`aud`) that every service accepts beside its own name, for older tokens, with a "
        "warning; `none`: its own name alone",
    )
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode, BeforeValidator(_split)] = Field(
        [],
        description="addresses or networks of the proxies whose X-Forwarded-For is believed, comma-separated; none: "
        "the caller's address is the peer's",
    )
    secret_key: Annotated[SecretStr | None, Field(validate_default=True)] = Field(
        None, description=f"signs the bearer tokens: at least {_KEY_BYTES} bytes; required unless AUTH_ENABLED=false"
    )
    secret_key_previous: SecretStr | None = Field(
        None, description="the SECRET_KEY before the present one, while its tokens and cursors are to remain valid"
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
        """A secrets folder has an empty file while there is none."""
        if not _bytes_of(key):
            return None
        _refuse_short(key)
        return key

    @property
    def keys(self) -> list[bytes]:
        """The present key first; none, without SECRET_KEY."""
        given = (self.secret_key, self.secret_key_previous)
        return [key.get_secret_value().encode() for key in given if key is not None]


def _bytes_of(key: SecretStr | None) -> int:
    """Of blanks alone, such as an empty file's line break, it is none."""
    text = key.get_secret_value() if key else ""
    return len(text.encode()) if text.strip() else 0


def _refuse_short(key: SecretStr | None) -> None:
    if _bytes_of(key) < _KEY_BYTES:
        raise ValueError(f"needs at least {_KEY_BYTES} bytes")


class KafkaSettings(Settings):
    kafka_bootstrap_servers: Annotated[list[Broker], NoDecode, BeforeValidator(_split), Field(min_length=1)] = Field(
        description="Kafka's brokers, comma-separated host:port; an IPv6 address in brackets: [::1]:9092"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, validate_default=True, description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; required with SASL"
    )
    kafka_sasl_username: Text | None = Field(None, validate_default=True, description="Kafka: user; required with SASL")
    kafka_sasl_password: Secret | None = Field(
        None, validate_default=True, description="Kafka: its password; required with SASL"
    )
    kafka_ssl_cafile: Certificates | None = Field(
        None, description="PEM file of who signs Kafka's certificates; none: whom the system trusts"
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
        None, description="this replica's lasting name: a restarted one gets its partitions back at once"
    )


class PostgresSettings(Settings):
    postgres_host: Annotated[list[Host], NoDecode, BeforeValidator(_several), Field(min_length=1)] = Field(
        description="Postgres: host; or several, comma-separated, of which the one that takes writes is used"
    )
    postgres_port: Annotated[list[Port], NoDecode, BeforeValidator(_several), Field(min_length=1)] = Field(
        [5432], description="Postgres: port of all hosts; or as many ports as hosts, comma-separated"
    )
    postgres_db: Text = Field(description="Postgres: database")
    postgres_user: Text = Field(description="Postgres: the service's own role, which owns nothing")
    postgres_password: Secret = Field(description="Postgres: its password")
    postgres_sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "prefer", description="TLS to Postgres, as in libpq: disable, prefer, require, verify-ca or verify-full"
    )
    postgres_sslrootcert: Certificates | None = Field(
        None, description="PEM file of who signs Postgres' certificate; none: with verify-… whom the system trusts"
    )

    @field_validator("postgres_port")
    @classmethod
    def _one_or_as_many(cls, ports: list[int], others: ValidationInfo) -> list[int]:
        if len(ports) not in (1, len(others.data.get("postgres_host", ports))):
            raise ValueError("needs one port, or as many as POSTGRES_HOST has hosts")
        return ports

    @property
    def postgres_servers(self) -> list[tuple[str, int]]:
        """Host and port of each."""
        hosts, ports = self.postgres_host, self.postgres_port
        return list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True))


class ServeSettings(HttpSettings, AuthSettings, PostgresSettings):
    """A REST service: `serve`."""


class WorkSettings(MetricsSettings, ConsumerSettings, PostgresSettings):
    """What consumes events: `work`."""


class PostgresOwnerSettings(PostgresSettings):
    postgres_owner_user: Text = Field(description="Postgres: the role that owns the schema; for `migrate` only")
    postgres_owner_password: Secret = Field(description="Postgres: the owner's password; for `migrate` only")


S = TypeVar("S", bound=Settings)


def load(kind: type[S], **given: Any) -> S:
    """Read the settings that are not given, or end the process with one line that names each wrong variable and never
    its value."""
    try:
        return kind(**given)
    except ValidationError as error:
        faults = [_fault(".".join(map(str, e["loc"])), e["msg"]) for e in error.errors(include_input=False)]
        raise SystemExit(f"configuration: {'; '.join(faults)}") from None
    except SettingsError as error:  # its text has the field in quotes, and no value
        _, field, _ = str(error).split('"', 2)
        raise SystemExit(f"configuration: {field.upper()}: is no JSON") from None


def _fault(field: str, message: str) -> str:
    """Pydantic puts its own words before the text of a ValueError."""
    return f"{field.upper()}: {message.removeprefix('Value error, ')}"

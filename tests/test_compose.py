"""docker-compose.yml: containers are restricted and get exactly their settings; images hold only tested packages."""

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import PROCESSES, SECRET, is_pinned, loaded, variables
from vapteke_shared.process.settings import HttpSettings

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
IMAGES = ["customers-api", "favorites-api", "legacy-importer"]
BY_DEFAULT = {"legacy-importer": ("legacy-importer", "work")}
"""What an image does when nothing else is asked."""

Service = dict[str, Any]
BUILT_HERE = {name: one for name, one in COMPOSE["services"].items() if one["image"].startswith("vaptekecustomers/")}


def _command(name: str, service: Service) -> tuple[str, ...]:
    """Without its options."""
    given = service.get("command")
    return tuple(part for part in given if part[0] != "-") if isinstance(given, list) else BY_DEFAULT.get(name, ())


SERVICES = {name: one for name, one in BUILT_HERE.items() if _command(name, one) in PROCESSES}


def test_every_process_runs_once() -> None:
    assert sorted(_command(name, one) for name, one in SERVICES.items()) == sorted(PROCESSES)


@pytest.mark.parametrize("name", BUILT_HERE)
def test_every_container_of_ours_is_restricted(name: str) -> None:
    service = BUILT_HERE[name]

    assert service["user"] == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert not {"cap_add", "privileged", "ports", "devices"} & service.keys()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_container_has_a_pinned_image_and_no_password_in_its_environment(name: str) -> None:
    service = COMPOSE["services"][name]

    assert is_pinned(_filled_in(service["image"]))
    assert not [key for key in service.get("environment", {}) if re.search("PASSWORD$|SECRET_KEY$", key)]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_everything_is_a_job_or_runs_on_with_its_health_watched(name: str) -> None:
    service = COMPOSE["services"][name]
    health = service.get("healthcheck", {} if name in SERVICES else None)  # those of ours have one in their image

    if service["restart"] == "on-failure":
        assert health == {"disable": True}
    else:
        assert service["restart"] == "unless-stopped"
        assert health is not None
        assert "disable" not in health
    assert re.search(r"^HEALTHCHECK .* CMD", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_every_process_starts_with_what_its_container_is_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES[name]
    environment = _written(service["env_file"]) | {
        name: _filled_in(value) for name, value in service["environment"].items()
    }
    secrets = dict.fromkeys(_secrets(service), SECRET)

    assert loaded(PROCESSES[_command(name, service)], environment | secrets, monkeypatch)


@pytest.mark.parametrize("name", SERVICES)
def test_no_process_is_given_a_secret_or_variable_that_it_does_not_know(name: str) -> None:
    service = SERVICES[name]
    images = [_command(other, one) for other, one in SERVICES.items() if one["image"] == service["image"]]
    known_to_its_image = set().union(*(variables(PROCESSES[command]) for command in images))

    assert service["environment"].keys() <= known_to_its_image
    assert _secrets(service) <= variables(PROCESSES[_command(name, service)])


def test_the_gateways_network_is_what_the_services_believe_and_holds_nothing_else() -> None:
    [network] = COMPOSE["networks"]["gateway"]["ipam"]["config"]
    on_it = {name for name, one in COMPOSE["services"].items() if "gateway" in one.get("networks", ())}

    assert on_it == {"gateway", "customers-api", "favorites-api"}
    for name in on_it - {"gateway"}:
        assert SERVICES[name]["environment"]["TRUSTED_PROXIES"] == network["subnet"]


REACHED = {"postgres": "POSTGRES_HOST", "kafka": "KAFKA_BOOTSTRAP_SERVERS", "vaptekesync": "VAPTEKESYNC_HOST"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_process_is_on_the_networks_of_what_it_needs_and_on_no_other(name: str) -> None:
    needed = {
        net for net, variable in REACHED.items() if variable in variables(PROCESSES[_command(name, SERVICES[name])])
    }

    assert set(SERVICES[name]["networks"]) - {"gateway", "metrics"} == needed


def test_the_gateway_reaches_the_two_rest_services_alone() -> None:
    reached = {name for name, one in COMPOSE["services"].items() if "gateway" in one["networks"]}

    assert COMPOSE["services"]["gateway"]["networks"] == ["gateway"]
    assert reached == {"gateway", "customers-api", "favorites-api"}


def test_the_gateway_leads_to_the_rest_ports_and_never_to_the_metrics() -> None:
    configuration = (ROOT / "deploy/gateway/nginx.conf").read_text()

    ports = set(re.findall(r"(?:customers|favorites)-api:(\d+)", configuration))

    assert ports == {str(HttpSettings.model_fields["http_port"].default)}


def test_postgres_and_kafka_are_on_networks_of_their_own_that_lead_nowhere() -> None:
    for name in ("postgres", "kafka"):
        assert COMPOSE["services"][name]["networks"] == [name]
        assert COMPOSE["networks"][name] == {"internal": True}


def test_each_service_is_a_user_of_kafka_with_a_password_of_its_own() -> None:
    users = {one["environment"]["KAFKA_SASL_USERNAME"]: one for one in SERVICES.values() if "kafka" in one["networks"]}

    assert sorted(users) == ["customers-api", "favorites-api", "legacy-importer", "topics"]
    for user, one in users.items():
        source = f"kafka_{user.replace('-', '_')}_password"
        assert {"source": source, "target": "kafka_sasl_password"} in one["secrets"]
        assert source in COMPOSE["services"]["kafka"]["secrets"]


@pytest.mark.parametrize("lock", ["deploy/build.lock", *(f"services/{image}/requirements.lock" for image in IMAGES)])
def test_an_image_has_no_package_that_the_tests_have_not_seen(lock: str) -> None:
    seen, packages = _packages(ROOT / "requirements.lock"), _packages(ROOT / lock)

    assert packages
    assert [pin for pin, hashes in packages.items() if not hashes or not hashes <= seen.get(pin, set())] == []


@pytest.mark.parametrize("source", ["own", "standin", "demo"])
def test_make_env_makes_every_secret_and_keeps_what_is_there(source: str, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = shutil.copy(ROOT / "deploy/make-env", tmp_path / "deploy")

    subprocess.run([script, source], check=True, stdout=subprocess.DEVNULL)
    first = _files(tmp_path)
    subprocess.run([script, source], check=True, stdout=subprocess.DEVNULL)

    assert _files(tmp_path) == first
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} <= first.keys()
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    made = [text for name, text in first.items() if name.startswith("secrets/") and text]
    assert len(set(made)) == len(made) == len(COMPOSE["secrets"]) - (2 if source == "own" else 1)


def _written(files: list[str]) -> dict[str, str]:
    """The settings that deploy/make-env writes."""
    assert files == [".env"]
    script = (ROOT / "deploy/make-env").read_text().replace("$host", "vaptekesync").replace("$encrypt", "no")
    return dict(re.findall("^([A-Z_]+)=([^$\n]+)$", script.partition("cat >.env")[2], re.MULTILINE))


def _filled_in(text: str) -> str:
    """As Compose does where .env says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def _secrets(service: Service) -> set[str]:
    """The settings that are files."""
    given = service.get("secrets", [])
    return {(secret if isinstance(secret, str) else secret["target"]).upper() for secret in given}


def _packages(lock: Path) -> dict[str, set[str]]:
    """By name and version: the hashes."""
    packages: dict[str, set[str]] = {}
    for line in lock.read_text().splitlines():
        if pin := re.match(r"[\w.-]+==[^\s;]+", line):
            hashes = packages.setdefault(pin[0], set())
        elif found := re.search(r"--hash=(\S+)", line):
            hashes.add(found[1])
    return packages


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

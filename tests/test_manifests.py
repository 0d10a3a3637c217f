"""The rendered Kubernetes overlays are valid for Kubernetes 1.34 and follow our own rules."""

import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import trustme
import yaml
from manifests import PROCESSES, SECRET, is_pinned, loaded, variables
from vapteke_shared.process.settings import Settings

DEPLOY = Path(__file__).parent.parent / "deploy"
README = DEPLOY / "k8s/README.md"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
CERTIFICATES = "/etc/vaptekecustomers"
CONNECTIONS = {
    "customers-api-serve": 11,
    "favorites-api-serve": 11,
    "customers-api-work": 9,
    "favorites-api-work": 5,
}
"""To Postgres, by Deployment: the size of the pool, and the session that watches whether Postgres takes writes."""
RENDERERS = {"kustomize": "build", "kubectl": "kustomize"}
RENDERER = next((name for name in RENDERERS if shutil.which(name)), None)

Object = dict[str, Any]
pytestmark = pytest.mark.skipif(RENDERER is None, reason="neither kustomize nor kubectl is on the PATH")


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests with secrets of their own."""
    copy = tmp_path_factory.mktemp("manifests")
    shutil.copytree(DEPLOY / "k8s", copy / "k8s", ignore=shutil.ignore_patterns("secrets"))
    shutil.copytree(DEPLOY / "postgres", copy / "postgres")
    subprocess.run([copy / "k8s/overlays/dev/make-secrets"], check=True)
    return copy / "k8s"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the ConfigMap of this name makes."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("postgres.crt", "kafka.crt"):
        trustme.CA().cert_pem.write_to_path(folder / name)
    return folder


@pytest.fixture(scope="session", params=["dev", "prod"])
def objects(request: pytest.FixtureRequest, tree: Path) -> list[Object]:
    return _rendered(tree / "overlays" / request.param)


def _rendered(overlay: Path) -> list[Object]:
    assert RENDERER
    done = subprocess.run([RENDERER, RENDERERS[RENDERER], overlay], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return list(yaml.safe_load_all(done.stdout))


def test_every_object_is_right_by_the_schemas_of_kubernetes(objects: list[Object]) -> None:
    for one in objects:
        if one["kind"] != "HTTPRoute":  # the Gateway API is no part of Kubernetes
            kubernetes_validate.validate(one, "1.34", strict=True)


def test_every_container_is_restricted(objects: list[Object]) -> None:
    [namespace] = _of(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in _pods(objects):
        own = pod["spec"]["securityContext"]
        assert own["runAsNonRoot"] is True, name
        assert own["runAsUser"] >= 100, name
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert [container["securityContext"] for container in _containers(pod)] == [RESTRICTED], name


def test_no_pod_holds_a_token_of_the_cluster_or_the_variables_of_its_services(objects: list[Object]) -> None:
    for name, pod in _pods(objects):
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert pod["spec"]["enableServiceLinks"] is False, name


def test_every_container_has_requests_a_limit_of_memory_and_a_pinned_image(objects: list[Object]) -> None:
    for name, pod in _pods(objects):
        for container in _containers(pod):
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            assert is_pinned(container["image"]), name


def test_everything_that_runs_on_is_probed(objects: list[Object]) -> None:
    for one in [*_of(objects, "Deployment"), *_of(objects, "StatefulSet")]:
        for container in _containers(one["spec"]["template"]):
            probes = {"startupProbe", "readinessProbe", "livenessProbe"}
            assert probes <= container.keys(), one["metadata"]["name"]


def test_every_process_starts_with_what_its_pod_is_given(
    objects: list[Object], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind, given in _processes(objects):
        here = {variable: value.replace(CERTIFICATES, str(certificates)) for variable, value in given.items()}
        assert loaded(kind, here, monkeypatch), name


def test_no_process_is_given_a_secret_or_variable_that_it_does_not_know(objects: list[Object]) -> None:
    known = {variable for kind in PROCESSES.values() for variable in variables(kind)}
    for config in _of(objects, "ConfigMap"):
        if config["metadata"]["name"].startswith(("settings-", "vaptekesync-")):
            assert config["data"].keys() <= known
    for name, pod in _own(objects):
        [container] = _containers(pod)
        own = {variable["name"] for variable in container.get("env", [])}
        assert own | _secret_files(pod) <= variables(_kind(container)), name


def test_every_process_runs_once(objects: list[Object]) -> None:
    containers = [container for _, pod in _own(objects) for container in _containers(pod)]

    assert sorted(tuple(container["args"]) for container in containers) == sorted(PROCESSES)
    assert not any("command" in container for container in containers)  # it would replace the image's init


def test_every_selector_finds_pods(objects: list[Object]) -> None:
    labels = [pod["metadata"]["labels"] for _, pod in _pods(objects)]
    for name, selector in _selectors(objects):
        assert any(_selects(selector, pod) for pod in labels), name


def test_everything_that_is_referred_to_is_there(objects: list[Object]) -> None:
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for autoscaler in _of(objects, "HorizontalPodAutoscaler"):
        assert ("Deployment", autoscaler["spec"]["scaleTargetRef"]["name"]) in there
    for name, pod in _own(objects):
        maps = [source["configMapRef"]["name"] for source in _containers(pod)[0]["envFrom"]]
        assert all(("ConfigMap", config) in there for config in maps), name


def test_every_secret_is_made_for_dev_and_in_the_readme_for_prod(objects: list[Object]) -> None:
    made = {(one["metadata"]["name"], key) for one in _of(objects, "Secret") for key in one["data"]}
    if made:
        needed = {key for _, pod in _own(objects) for key in _secret_keys(pod, optional=False)}
        assert needed <= made
    else:
        needed = {key for _, pod in _own(objects) for key in _secret_keys(pod)}
        assert needed == _secrets_of_the_readme()


def test_each_service_logs_into_kafka_with_a_secret_that_no_other_has(objects: list[Object]) -> None:
    names = [{secret for secret, key in _secret_keys(pod) if key == "kafka_sasl_password"} for _, pod in _own(objects)]

    assert sorted(name for each in names for name in each) == [
        "kafka-customers-api",
        "kafka-favorites-api",
        "kafka-legacy-importer",
        "kafka-topics",
    ]


def test_nothing_passes_unless_a_policy_says_so(objects: list[Object]) -> None:
    policies = [policy["spec"] for policy in _of(objects, "NetworkPolicy")]

    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/rest/v1/favorites/", "favorites-api"),
        ("/rest/v1/favorites/bulk/", "favorites-api"),
        ("/rest/v1/customers/1/", "customers-api"),
        ("/rest/v1/imports/", "customers-api"),
        ("/grpc/v1/service/import_customers/", "customers-api"),
        ("/metrics", None),
        ("/docs/", None),
    ],
)
def test_the_route_keeps_the_paths_of_the_original(tree: Path, path: str, service: str | None) -> None:
    [route] = _of(_rendered(tree / "overlays/prod"), "HTTPRoute")
    prefixes = {
        match["path"]["value"]: rule["backendRefs"][0]["name"]
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }

    matching = [prefix for prefix in prefixes if path.startswith(f"{prefix}/")]

    assert prefixes.get(max(matching, key=len, default="")) == service


def test_the_route_is_a_route_to_ports_of_services(tree: Path) -> None:
    objects = _rendered(tree / "overlays/prod")
    [route] = _of(objects, "HTTPRoute")
    ports = [
        {"name": service["metadata"]["name"], "port": port["port"]}
        for service in _of(objects, "Service")
        for port in service["spec"]["ports"]
    ]

    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"].keys() == {"parentRefs", "hostnames", "rules"}
    for rule in route["spec"]["rules"]:
        assert rule.keys() == {"matches", "backendRefs"}
        assert all(match.keys() == {"path"} and _is_prefix(match["path"]) for match in rule["matches"])
        assert [backend in ports for backend in rule["backendRefs"]] == [True]


def test_postgres_has_connections_for_as_many_replicas_as_there_may_be(tree: Path) -> None:
    most = _replicas_at_most(_rendered(tree / "overlays/prod"))
    steady = sum(most[name] * each for name, each in CONNECTIONS.items())
    upgrade = 2 * steady + 2  # old pods may drain beside all the new ones, and both services migrate

    assert steady < 100 - 3  # what Postgres gives by default, without those that it keeps for superusers
    rows = [f"| `{name}` | {each} | {most[name]} |" for name, each in CONNECTIONS.items()]
    assert "\n".join(rows) in README.read_text()
    assert f"at most **{steady}**" in README.read_text()
    assert f"up to **{upgrade}**" in README.read_text()


def test_secrets_are_random_private_and_kept(tree: Path, tmp_path: Path) -> None:
    script = shutil.copy(tree / "overlays/dev/make-secrets", tmp_path)

    subprocess.run([script], check=True)
    first = _read(tmp_path / "secrets")
    subprocess.run([script], check=True)

    assert _read(tmp_path / "secrets") == first
    assert len(set(first.values()) | set(_read(tree / "overlays/dev/secrets").values())) == 2 * len(first)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()} == {0o600}


def _read(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def _of(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def _pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield f"{one['kind']} {one['metadata']['name']}", one["spec"]["template"]


def _replicas_at_most(objects: list[Object]) -> dict[str, int]:
    fixed = {one["metadata"]["name"]: one["spec"].get("replicas", 1) for one in _of(objects, "Deployment")}
    scaled = _of(objects, "HorizontalPodAutoscaler")
    return fixed | {one["spec"]["scaleTargetRef"]["name"]: one["spec"]["maxReplicas"] for one in scaled}


def _is_prefix(path: Object) -> bool:
    return path.keys() == {"type", "value"} and path["type"] == "PathPrefix" and path["value"].startswith("/")


def _own(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The pods of our services, not those of what they need."""
    return ((name, pod) for name, pod in _pods(objects) if pod["spec"]["containers"][0]["name"] == "app")


def _containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _kind(container: Object) -> type[Settings]:
    return PROCESSES[tuple(container["args"])]


def _secrets(pod: Object) -> list[Object]:
    [volume] = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "secrets"]
    return [source["secret"] for source in volume["projected"]["sources"]]


def _secret_files(pod: Object) -> set[str]:
    """The settings that are files."""
    return {item["path"].upper() for secret in _secrets(pod) for item in secret["items"]}


def _secret_keys(pod: Object, optional: bool = True) -> set[tuple[str, str]]:
    wanted = [secret for secret in _secrets(pod) if optional or not secret.get("optional")]
    return {(secret["name"], item["key"]) for secret in wanted for item in secret["items"]}


def _secrets_of_the_readme() -> set[tuple[str, str]]:
    _, table, _ = re.split(r"\| Secret \|.*\n|\n\n\| ConfigMap \|", README.read_text())
    rows = [row.split("|") for row in table.splitlines()[1:]]
    return {(name.strip(" `"), key) for _, name, keys, *_ in rows for key in re.findall("`(.+?)`", keys)}


def _processes(objects: list[Object]) -> Iterator[tuple[str, type[Settings], dict[str, str]]]:
    """Each with the variables of its pod; its secrets are made up."""
    configs = {config["metadata"]["name"]: config["data"] for config in _of(objects, "ConfigMap")}
    for name, pod in _own(objects):
        [container] = _containers(pod)
        given = dict.fromkeys(_secret_files(pod), SECRET)
        for source in container["envFrom"]:
            given |= configs[source["configMapRef"]["name"]]
        given |= {variable["name"]: variable["value"] for variable in container.get("env", [])}
        yield name, _kind(container), given


def _selectors(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "Service":
            yield name, {"matchLabels": one["spec"]["selector"]}
        if one["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            yield name, one["spec"]["selector"]
        if one["kind"] == "NetworkPolicy":
            yield name, one["spec"]["podSelector"]


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    equal = selector.get("matchLabels", {}).items() <= labels.items()
    return equal and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))

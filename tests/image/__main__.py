"""``make image-test``: builds the image without Docker, and runs what it is for.

Doctor, a screen and a quick scan, a worker with Redis and PostgreSQL, the dashboard, metrics and beat, with the
commands and health checks of compose.yaml, as the image's user on a read-only root file system. PostgreSQL and Redis
are its own. The log is in docs/operations.md.
"""

import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from sqlalchemy.engine import make_url

from tests.deploy.files import compose, seconds
from tests.factories.services import Cluster
from tests.image.build import TAG, Builder, find_obstacles
from tests.image.container import Image, disk_use
from tests.workers.team import free_port, until

LARGEST = 12
"""Packages of the image that are listed."""
MIB = 2**20


@click.command()
@click.option("--python", default=sys.executable, help="The interpreter of the base; by default this one.")
@click.option("--torch-index", envvar="TORCH_INDEX", help="The index of torch's CPU build; without it, CUDA's is used.")
@click.option(
    "--work", "parent", type=click.Path(path_type=Path), default=Path("/var/tmp"), show_default=True,
    help="Work in the folder auditor-image in this one; it is removed at the end.",
)  # fmt: skip
@click.option("--reuse", is_flag=True, help="Test the image of the last run, which --keep left, instead of building.")
@click.option("--keep", is_flag=True, help="Keep the wheels and the image.")
def main(python: str, torch_index: str | None, parent: Path, reuse: bool, keep: bool) -> None:
    """Build the image and test it. Exit codes: 0 it works; 1 it does not; 3 this machine cannot build it."""
    if obstacles := find_obstacles():
        click.echo("\n".join(f"image test: {line}" for line in obstacles), err=True)
        raise SystemExit(3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and mounts are cleaned up
    began = time.monotonic()
    work = parent / "auditor-image"  # a folder of this test's own, because it is removed, as root
    work.mkdir(parents=True, exist_ok=True)
    builder = Builder(work, python, torch_index)
    if not reuse:
        for step in (builder.make_base, builder.collect_wheels, builder.build):
            step()
    folder = work / "test"
    shutil.rmtree(folder, ignore_errors=True)
    image = Image(builder, folder)
    try:
        show_contents(image)
        with services(image, folder):
            check_commands(image)
            check_worker(image, folder)
            check_servers(image, folder)
    finally:
        builder.buildah("umount", image.container)
        builder.buildah("rm", image.container)
        shutil.rmtree(folder if keep else work, ignore_errors=True)
    click.echo(f"The image works. {time.monotonic() - began:.0f} s")


def show_contents(image: Image) -> None:
    """Print the image's size, and its largest packages."""
    packages = image.packages()
    total, own = disk_use(image.root), sum(package.size for package in packages)
    click.echo(f"{TAG}: {total / MIB:.0f} MiB; {total / MIB - own / MIB:.0f} MiB of them Debian and Python")
    click.echo(f"user {image.config['User']}, entrypoint {image.config['Entrypoint']}, command {image.config['Cmd']}")
    click.echo(f"{len(packages)} packages; the largest, in MiB:")
    for package in packages[:LARGEST]:
        click.echo(f"  {package.size / MIB:7.1f}  {package.name} {package.version}")
    click.echo(f"  {sum(package.size for package in packages[LARGEST:]) / MIB:7.1f}  all others")


@contextlib.contextmanager
def services(image: Image, folder: Path) -> Iterator[None]:
    """PostgreSQL and Redis with passwords, named in the image's secrets."""
    password, port = folder / "password", free_port()
    password.write_text(secrets.token_hex(24))
    password.chmod(0o644)
    (folder / "postgres").mkdir()
    database = Cluster(folder / "postgres", user="auditor", password=password)
    broker = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    redis = subprocess.Popen([*broker, "--requirepass", password.read_text()], cwd=folder, stdout=subprocess.DEVNULL)
    url = make_url(database.url).set(database="postgres", password=password.read_text())
    (image.secrets / "database_url").write_text(url.render_as_string(hide_password=False))
    (image.secrets / "broker_url").write_text(f"redis://:{password.read_text()}@127.0.0.1:{port}/0")
    try:
        yield
    finally:
        redis.terminate()
        redis.wait(20)
        database.stop()


def check_commands(image: Image) -> None:
    """What a person runs, in one container each."""
    image.run("sh", "-c", "id; touch /home/auditor/file || echo 'the root file system is read-only'", entrypoint=False)
    image.run("db", "upgrade")
    image.run("doctor")
    image.run("scan", "demo", "--protocol", "screen", "--here")
    image.run("scan", "demo", "--protocol", "quick", "--here")


@contextlib.contextmanager
def service(image: Image, folder: Path, name: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A service of compose.yaml, which ends with status 0 within its time after SIGTERM."""
    wanted = compose()["services"][name]
    process = image.start(*wanted["command"], *more, log=folder / f"{name}.log")
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        status = process.wait(seconds(wanted.get("stop_grace_period", "10s")))
        click.echo(f"{name} ended {time.monotonic() - begun:.1f} s after SIGTERM with status {status}")
        if status not in (0, -signal.SIGTERM):
            raise SystemExit(f"image test: {name} ended with status {status}")
    except BaseException:
        click.echo((folder / f"{name}.log").read_text()[-4000:], err=True)
        raise
    finally:
        process.kill()
        process.wait()


def wait_healthy(image: Image, running: subprocess.Popen[bytes], name: str, port: int | None = None) -> None:
    """Wait for the health check of a service of compose.yaml, or of the image."""
    check = compose()["services"][name].get("healthcheck", {}).get("test")
    if check is None:
        command = image.config["Healthcheck"]["Test"][1:]
    else:
        command = check[1:] if check[0] == "CMD" else ["sh", "-c", check[1].replace("$$", "$")]
    command = [word.replace(":8000/", f":{port}/").replace(":9464/", f":{port}/") for word in command]
    begun = time.monotonic()
    until(lambda: image.is_healthy(running, *command), 300, f"{name} is healthy")
    click.echo(f"{name} is healthy after {time.monotonic() - begun:.1f} s")


def check_worker(image: Image, folder: Path) -> None:
    """A worker takes a scan from the queue; one container sends it."""
    with service(image, folder, "worker") as running:
        wait_healthy(image, running, "worker")
        image.run("scan", "demo", "--protocol", "quick", "--limit", "4", "--force", "--queue", "--wait")
        image.run("workers")
    image.run(*image.config["Healthcheck"]["Test"][2:], status=1)


def answer(url: str, token: str | None = None) -> tuple[int, str]:
    """Status and body of a GET request."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def expect(what: str, holds: bool) -> None:
    click.echo(f"{what}: {'yes' if holds else 'NO'}")
    if not holds:
        raise SystemExit(f"image test: {what}: no")


def check_servers(image: Image, folder: Path) -> None:
    """Dashboard, metrics and beat."""
    token = image.run("tokens", "add", "image-test", "--scope", "read", show=False).strip()
    click.echo("$ auditor tokens add image-test --scope read")
    local: Callable[[int], list[str]] = lambda port: ["--host", "127.0.0.1", "--port", str(port)]  # noqa: E731
    port = free_port()
    with service(image, folder, "serve", *local(port)) as running:
        wait_healthy(image, running, "serve", port)
        results = f"http://127.0.0.1:{port}/api/v1/results?limit=500"
        expect("GET /api/v1/results without a token: 401", answer(results)[0] == 401)
        status, body = answer(results, token)
        count = len(json.loads(body)["results"])
        expect(f"GET /api/v1/results with the token: 200, {count} results", status == 200 and count > 0)
    port = free_port()
    with service(image, folder, "metrics", *local(port)) as running:
        wait_healthy(image, running, "metrics", port)
        text = answer(f"http://127.0.0.1:{port}/metrics")[1]
        expect("auditor_up 1 and auditor_broker_up 1", "auditor_up 1.0" in text and "auditor_broker_up 1.0" in text)
    with service(image, folder, "beat") as running:
        wait_healthy(image, running, "beat")


if __name__ == "__main__":
    main()

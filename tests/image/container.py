"""Containers of the built image, as compose.yaml and the Kubernetes manifests run them, without Docker.

The image's user without capabilities, a root file system that is read-only, folders of this machine for the volumes and
the secrets. Only the network is this machine's, so servers listen on ports of their own.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import click

from tests.image.build import TAG, Builder

ENTER = """
root=$1 files=$2 secrets=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/secrets"
mount --bind "$secrets" "$root/run/secrets"
for volume in "$files"/*; do mount --bind "$volume" "$root/${volume##*/}"; done
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
"""
"""Mounts as for a container, in a mount namespace of the process, which then becomes the container's program."""
VOLUMES = ("models", "data", "checkpoints", "boosted")


@dataclass(frozen=True)
class Package:
    """A distribution in the image, and the bytes of its files."""

    name: str
    version: str
    size: int


class Image:
    """The image, and how its containers are started; ``folder`` gets volumes and secrets."""

    def __init__(self, builder: Builder, folder: Path) -> None:
        inspected = json.loads(builder.buildah("inspect", "--type=image", TAG))["Docker"]
        self.size = int(inspected["size"]) if inspected.get("size") else 0
        self.config = inspected["config"]
        self.container = builder.buildah("from", "--pull-never", TAG)
        self.root = Path(builder.buildah("mount", self.container))
        self.files, self.secrets = folder / "files", folder / "secrets"
        self.user, _, self.group = self.config["User"].partition(":")
        self.secrets.mkdir(parents=True)
        for name in VOLUMES:
            (self.files / name).mkdir(parents=True)
            shutil.chown(self.files / name, int(self.user), int(self.group))

    def as_user(self, *program: str) -> list[str]:
        """A command inside a container: the image's user and environment, no capabilities, no new privileges."""
        secrets = [f"AUDITOR_{name.upper()}_FILE=/run/secrets/{name}" for name in ("database_url", "broker_url")]
        environment = [*self.config["Env"], f"HOME={self.config['WorkingDir']}", *secrets]
        user = ["--reuid", self.user, "--regid", self.group, "--clear-groups"]
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return ["setpriv", *user, *rights, "env", "-i", f"--chdir={self.config['WorkingDir']}", *environment, *program]

    def command(self, *program: str) -> list[str]:
        """The command that runs a program in a container of its own."""
        mounts = [str(folder) for folder in (self.root, self.files, self.secrets)]
        return ["unshare", "--mount", "sh", "-eu", "-c", ENTER, "container", *mounts, *self.as_user(*program)]

    def run(self, *arguments: str, entrypoint: bool = True, show: bool = True, status: int = 0) -> str:
        """Run auditor, or another program, to its end, and show it with its output, which is returned.

        Raises:
            SystemExit: it ended with another status.
        """
        program = [*self.config["Entrypoint"], *arguments] if entrypoint else list(arguments)
        ended = subprocess.run(self.command(*program), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if show or ended.returncode != status:
            click.echo(f"$ {' '.join(program)}\n{ended.stdout.rstrip()}")
        if ended.returncode != status:
            raise SystemExit(f"image test: expected exit code {status}, got {ended.returncode}")
        return ended.stdout

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start auditor as a service of its own."""
        program = [*self.config["Entrypoint"], *arguments]
        click.echo(f"$ {' '.join(program)} &")
        with log.open("wb") as file:
            return subprocess.Popen(self.command(*program), stdout=file, stderr=file)

    def is_healthy(self, container: subprocess.Popen[bytes], *check: str) -> bool:
        """Whether a health check passes inside a running container."""
        enter = ["nsenter", f"--target={container.pid}", "--mount", "--root"]
        return not subprocess.run([*enter, *self.as_user(*check)], capture_output=True).returncode

    def packages(self) -> list[Package]:
        """The distributions in the image, the largest first."""
        found = []
        for info in self.root.glob("opt/auditor/lib/python3*/site-packages/*.dist-info"):
            name, version = info.name.removesuffix(".dist-info").split("-")[:2]
            rows = [line.rsplit(",", 2)[0].strip('"') for line in (info / "RECORD").read_text().splitlines()]
            files = {(info.parent / row).resolve() for row in rows}
            found.append(Package(name, version, sum(file.stat().st_size for file in files if file.is_file())))
        return sorted(found, key=lambda one: -one.size)


def disk_use(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())

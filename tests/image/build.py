"""Builds the image with buildah, on a machine that reaches no registry of images and has no Docker.

The base is a Debian from debootstrap with the interpreter of this machine. This machine's pip collects the wheels, with
its own configuration. The build gets their folder and a pip.conf that names nothing else.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tests.constraints import IN_THE_IMAGE
from tests.deploy.files import ROOT

BASE, TAG = "localhost/auditor-base", "localhost/auditor:image-test"
REQUIREMENT = f".[{','.join(IN_THE_IMAGE)}]"
PROGRAMS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "redis-server": "redis-server",
    "unshare": "util-linux",
    "runuser": "util-linux",
}
"""Programs that the image test runs, and the Debian packages that have them."""


def find_obstacles() -> list[str]:
    """What this machine lacks for the image test, one line each."""
    if not sys.platform.startswith("linux") or not Path("/etc/debian_version").exists():
        return ["needs Debian or a relative of it: the base of the image is made with debootstrap"]
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    found = [f"needs Debian packages: apt-get install {' '.join(missing)}"] if missing else []
    if os.geteuid() != 0:
        found.append("needs root, for debootstrap, for mounts and for chroot")
    return found


def run(*command: str | Path, **options: Any) -> None:
    """Run a command and show it, without its output; errors go to stderr."""
    click.secho(f"$ {' '.join(map(str, command))}", dim=True, err=True)
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, **options)


def ask(*command: str | Path) -> str:
    """What a command prints, without the final line end."""
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Builder:
    """buildah with a store of its own in ``work``, and what the build needs there.

    ``python`` is the interpreter that the base gets. ``torch_index`` is the URL of an index of torch's CPU build;
    without one, torch is what pip's usual index has.
    """

    def __init__(self, work: Path, python: str, torch_index: str | None) -> None:
        self.work, self.python, self.torch_index = work, python, torch_index
        self.wheels = work / "wheels"
        self.store = [f"--root={work / 'store'}", f"--runroot={work / 'run'}", "--storage-driver=vfs"]

    def buildah(self, *arguments: str | Path) -> str:
        return ask("buildah", *self.store, *arguments)

    def make_base(self) -> None:
        """Make the image ``BASE``: Debian's smallest system, and the interpreter in ``/usr`` or ``/usr/local``."""
        prefix = Path(ask(self.python, "-c", "import sys; print(sys.base_prefix)"))
        root = self.work / "root"
        shutil.rmtree(root, ignore_errors=True)
        of_debian = prefix == Path("/usr")
        packages = ["python3-venv", "python-is-python3"] if of_debian else packages_of_libraries(prefix)
        release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
        include = ",".join(["ca-certificates", *packages])
        run("debootstrap", "--variant=minbase", f"--include={include}", release["VERSION_CODENAME"], root)
        shutil.rmtree(root / "var/lib/apt/lists")
        shutil.rmtree(root / "var/cache/apt")
        if not of_debian:
            copy_interpreter(prefix, root / "usr/local")
            run("chroot", root, "ldconfig")
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, root, "/")
        self.buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        self.buildah("commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(root)

    def collect_wheels(self) -> None:
        """Collect the wheels that the image installs, for the base's interpreter, without downloading any twice."""
        environment = self.work / "venv"
        run(self.python, "-m", "venv", "--clear", "--without-pip", environment)
        pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "wheel", "--quiet"]
        pip += [f"--wheel-dir={self.wheels}", f"--find-links={self.wheels}", f"--constraint={ROOT / 'constraints.txt'}"]
        if self.torch_index:
            run(*pip, "--no-deps", f"--index-url={self.torch_index}", "torch", "torchvision")
        run(*pip, "hatchling", REQUIREMENT, cwd=ROOT)
        for own in self.wheels.glob("auditor-*.whl"):  # the build makes its own
            own.unlink()

    def build(self) -> None:
        """Build the Dockerfile as the image ``TAG``, from the wheels alone."""
        configuration = self.work / "pip.conf"
        configuration.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        device = "cpu" if self.torch_index else "cuda"
        command: Sequence[str | Path] = [
            "buildah", *self.store, "build", "--isolation=chroot", "--format=docker", "--pull-never", "--quiet",
            f"--build-arg=PYTHON_IMAGE={BASE}", f"--build-arg=DEVICE={device}",
            f"--secret=id=pip,src={configuration}", f"--volume={self.wheels}:/wheels:ro", f"--tag={TAG}", ROOT,
        ]  # fmt: skip
        run(*command)


def packages_of_libraries(prefix: Path) -> list[str]:
    """The Debian packages with the libraries that an interpreter and its modules load, without those of windows."""
    modules = [module for module in prefix.glob("lib/python3*/lib-dynload/*.so") if "_tkinter" not in module.name]
    lines = ask("ldd", *prefix.glob("bin/python3.[0-9]*[0-9]"), *modules).splitlines()
    named = [Path(line.partition("=> /")[2].partition(" ")[0]) for line in lines if "=> /" in line]
    files = {Path("/", name).resolve() for name in named}
    # On systems whose /lib is a link to /usr/lib, the database of packages has either path.
    paths = [
        path for file in files if prefix not in file.parents for path in (str(file), str(file).removeprefix("/usr"))
    ]
    found = subprocess.run(["dpkg-query", "--search", *paths], capture_output=True, text=True).stdout
    return sorted({line.partition(":")[0] for line in found.splitlines()})


def copy_interpreter(prefix: Path, target: Path) -> None:
    """Copy an interpreter with its standard library, and nothing that was installed into it."""
    (target / "bin").mkdir(parents=True, exist_ok=True)
    (target / "lib").mkdir(exist_ok=True)
    for program in prefix.glob("bin/python*"):
        if not program.name.endswith("-config"):
            shutil.copy2(program, target / "bin", follow_symlinks=False)
    for library in prefix.glob("lib/libpython3*"):
        shutil.copy2(library, target / "lib", follow_symlinks=False)
    for modules in prefix.glob("lib/python3.*"):
        leave = shutil.ignore_patterns("site-packages", "test", "__pycache__", "_tkinter*", "config-3*")
        shutil.copytree(modules, target / "lib" / modules.name, symlinks=True, ignore=leave)
        (target / "lib" / modules.name / "site-packages").mkdir()

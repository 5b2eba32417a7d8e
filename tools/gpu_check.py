"""Runs the GPU check on a machine with CUDA and PyTorch, without a network: ``make gpu-check``.

    python3 tools/gpu_check.py [--wheels .gpu-wheels] [--write docs/performance.md]     # on the machine with the GPU
    python3 tools/gpu_check.py --fill --python 3.12 [--freeze FILE]                     # where there is a network

``--fill`` downloads into the folder of wheels what the check needs beside PyTorch, for that version of Python on Linux.
FILE is what ``pip freeze`` prints on the machine with the GPU: what is there already is then left out.

The check makes an environment in ``.gpu-check`` that sees the packages of the Python that runs it, installs what is
missing from the folder, and starts ``python -m benchmarks.gpu``. It ends within eight minutes.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".gpu-check"
SECONDS = 475.0
"""Of everything, less what starting and ending processes takes."""
OF_MACHINE = (
    "torch", "torchvision", "triton", "sympy", "mpmath", "networkx", "fsspec", "filelock", "setuptools",
)  # fmt: skip
"""What the machine must have: PyTorch, in a build for its own driver, and what only PyTorch needs."""
CHECK = ("pytest>=8.3", "hypothesis>=6.120", "fakeredis[lua]>=2.30")
"""What the check needs beside auditor: its tests, and a Redis server in Python for two workers."""
EXTRAS = ("service",)


def requirements() -> list[str]:
    """What has to be installed: auditor's dependencies, those of its workers, and those of the check."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras, *CHECK]


def name_of(requirement: str) -> str:
    """The normalized name of the distribution that a requirement is about."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0].lower()) if name else ""


def fill(folder: Path, python: str, freeze: Path | None) -> None:
    """Download wheels for Linux on x86-64 and this version of Python, with all that they need but PyTorch."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [part["metadata"] for part in resolve(python)["install"]]
    present = read_freeze(freeze.read_text()) if freeze else {}
    missing = left_to_carry(found, present)
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            *target_of(python),
            "--dest",
            folder,
            *missing,
            "pip",
        ]
    )
    wheels = list(folder.glob("*.whl"))
    for wheel in wheels:
        if name_of(wheel.name.partition("-")[0]) == "pyautoattack":
            leave_out_large_files(wheel)
    print(f"{len(wheels)} wheels, {sum(file.stat().st_size for file in wheels) / 2**20:.0f} MiB, in {folder}")


def leave_out_large_files(wheel: Path, most: int = 2**20) -> None:
    """Write the wheel again without its files of more than 1 MiB: pyautoattack has pictures and weights of 40 MB."""
    smaller = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(smaller, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            if member.file_size <= most:
                new.writestr(member, old.read(member))
    smaller.replace(wheel)


def target_of(python: str) -> list[str]:
    """Pip's options for this version of Python on Linux on x86-64."""
    lows = (5, 12, 17, 24, 26, 27, 28, 31, 34)
    platforms = [*(f"manylinux_2_{low}_x86_64" for low in lows), "manylinux2014_x86_64", "manylinux1_x86_64"]
    options = ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:"]
    return [*options, *(word for name in platforms for word in ("--platform", name))]


def resolve(python: str) -> Any:
    """Pip's report about all distributions that it would install there; it installs none."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", "--target", "unused"]
    done = subprocess.run([*command, *target_of(python), *requirements()], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip found no set of versions: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout)


def read_freeze(text: str) -> dict[str, str]:
    """Versions by normalized name, from the lines ``NAME==VERSION`` of ``pip freeze``."""
    pairs = [line.strip().split("==") for line in text.splitlines() if "==" in line and not line.startswith("#")]
    return {name_of(name): version for name, version in pairs}


def left_to_carry(found: Sequence[dict[str, Any]], present: dict[str, str]) -> list[str]:
    """``NAME==VERSION`` of what is not of PyTorch, and not present in a version that suits everything else.

    ``found``: the metadata of all distributions, as in pip's report; ``present``: versions on the other machine.
    """
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in requirements()]
    needed += [Requirement(line) for part in found for line in part.get("requires_dist", ()) if "extra ==" not in line]
    missing = []
    for part in found:
        name, version = name_of(part["name"]), present.get(name_of(part["name"]))
        suits = version is not None and all(
            one.specifier.contains(version, prereleases=True) for one in needed if name_of(one.name) == name
        )
        if not suits and not of_torch(name):
            missing.append(f"{name}=={part['version']}")
    return sorted(missing)


def of_torch(name: str) -> bool:
    """Whether a distribution comes with PyTorch: the machine has it, in a build for its driver."""
    return name in OF_MACHINE or name.startswith(("nvidia-", "cuda-"))


def make_environment(wheels: Path) -> Path:
    """An environment that sees the packages of this Python, and has the missing ones from the wheels; its Python."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    venv.EnvBuilder(with_pip=False, symlinks=True).create(ENVIRONMENT)
    python = ENVIRONMENT / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = ENVIRONMENT / "lib" / version / "site-packages"
    # Paths instead of `--system-site-packages`, which skips the packages of an environment that this Python is of.
    paths = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "machine.pth").write_text("\n".join([*paths, str(ROOT), ""]))
    write_metadata(packages)
    pips = sorted(wheels.glob("pip-*.whl"))
    if not pips:
        sys.exit(f"{wheels} has no wheel of pip: fill the folder first, {Path(__file__).name} --fill")
    install = [python, pips[-1] / "pip", "install", "--no-index", "--find-links", wheels, "--no-compile", "--quiet"]
    run([*install, "--disable-pip-version-check", "--no-cache-dir", *requirements()])
    return python


def write_metadata(packages: Path) -> None:
    """Metadata of auditor, which runs from the checkout: its version is part of its results."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folder = packages / f"auditor-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: auditor\nVersion: {version}\n")


def run(command: Sequence[str | Path]) -> None:
    """Run a command, or end this program with its exit code."""
    if code := subprocess.run([str(word) for word in command], check=False).returncode:
        sys.exit(code)


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, default=ROOT / ".gpu-wheels")
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--freeze", type=Path, help="with --fill: leave out what this output of `pip freeze` names")
    parser.add_argument("--json", type=Path, default=ROOT / "gpu-check.json")
    options, others = parser.parse_known_args()
    wheels = options.wheels.resolve()
    if options.fill:
        fill(wheels, options.python, options.freeze)
        return
    if options.python != platform.python_version().rpartition(".")[0]:
        parser.error("--python needs --fill")
    print(f"making {ENVIRONMENT.name} from {wheels}", flush=True)
    python = make_environment(wheels)
    left = SECONDS - (time.monotonic() - began)
    print(f"the environment took {SECONDS - left:.0f} s", flush=True)
    command = [python, "-m", "benchmarks.gpu", "--seconds", f"{left:.0f}", "--json", options.json.resolve(), *others]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    sys.exit(subprocess.run([str(word) for word in command], cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()

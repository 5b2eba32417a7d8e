"""Checks a release before it is published: ``make release-check`` leaves dist/ as it can be uploaded.

Wheel and sdist are built twice, in different folders, and must be the same to the byte. The wheel is installed without
extras into a new environment, where the demo zoo is scanned. The SBOM describes that environment.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_BUILT_FROM = {".git", ".venv", "build", "dist", "plots", "reproduction"}  # at the top, beside what .gitignore names


def build(source: Path, folder: Path) -> dict[str, str]:
    """Build the sdist, and the wheel from the sdist.

    Args:
        source: a source tree.
        folder: where the two files go.

    Returns:
        The SHA-256 of each file, in hexadecimal, by name.
    """
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(source_date())}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return {file.name: digest(file) for file in sorted(folder.iterdir())}


def build_twice(folder: Path) -> dict[str, str]:
    """Build from this tree and from a copy of it in another place.

    Returns:
        The digests, as from :func:`build`. The files are in ``folder/first``.

    Raises:
        SystemExit: the builds differ.
    """
    copy = folder / "elsewhere" / "tree"
    caches = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "*.egg-info")

    def left_out(place: str, names: list[str]) -> set[str]:
        return caches(place, names) | (NOT_BUILT_FROM & set(names) if Path(place) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=left_out)
    for file in copy.rglob("*"):
        os.utime(file, (0, 0))
    first, second = build(ROOT, folder / "first"), build(copy, folder / "second")
    if first != second:
        raise SystemExit(f"two builds differ:\n{json.dumps(first, indent=1)}\n{json.dumps(second, indent=1)}")
    return first


def source_date() -> int:
    """Seconds: the environment's SOURCE_DATE_EPOCH, or the time of the last commit, or 2020 in a tree without Git."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 1580601600


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def contents(sdist: Path) -> set[str]:
    """The files of an sdist, relative to its root."""
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def demo_models() -> list[str]:
    """The names of the shipped models."""
    manifest = json.loads((ROOT / "auditor" / "zoo" / "demo" / "weights" / "manifest.json").read_text())
    return [model["name"] for model in manifest["models"]]


def try_wheel(wheel: Path, folder: Path) -> Path:
    """Install the wheel without extras into a new environment and scan the demo zoo there.

    Returns:
        The environment's interpreter.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "clean")], check=True)
    python = folder / "clean" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", str(wheel)], check=True)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    environment = kept | {"AUDITOR_DATABASE_URL": f"sqlite:///{folder}/clean.db"}
    auditor = str(python.parent / "auditor")
    for arguments in (["--version"], ["scan", "demo", "--protocol", "screen"], ["scan", "demo"], ["db", "check"]):
        sys.stderr.write(f"auditor {' '.join(arguments)}\n")
        subprocess.run([auditor, *arguments], check=True, env=environment, cwd=folder, stderr=subprocess.DEVNULL)
    listed = [auditor, "results", "list", "--format", "json", "--protocol", "quick"]
    printed = subprocess.run(listed, check=True, env=environment, cwd=folder, capture_output=True, text=True).stdout
    models = [row["model"] for row in json.loads(printed) if row["status"] == "done"]
    expected = len(demo_models())
    if len(models) != expected:
        raise SystemExit(f"expected {expected} models of the demo zoo, got {len(models)}")
    return python


def write_sbom(python: Path, file: Path) -> None:
    """Write the CycloneDX SBOM of an environment, checked against its schema."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--validate", "--output-reproducible"]
    command += ["--spec-version", "1.6", "--mc-type", "application", "--pyproject", str(ROOT / "pyproject.toml")]
    subprocess.run([*command, "--output-file", str(file), str(python)], check=True)


def main() -> None:
    dist = ROOT / "dist"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digests = build_twice(folder)
        sys.stderr.write("two builds are the same\n")
        shutil.rmtree(dist, ignore_errors=True)
        shutil.copytree(folder / "first", dist)
        (wheel,) = dist.glob("*.whl")
        python = try_wheel(wheel, folder)
        sbom = dist / f"{PROJECT['name']}-{PROJECT['version']}.cdx.json"
        write_sbom(python, sbom)
        digests[sbom.name] = digest(sbom)
    lines = "".join(f"{text}  {name}\n" for name, text in sorted(digests.items()))
    (dist / "SHA256SUMS").write_text(lines)
    sys.stdout.write(lines)


if __name__ == "__main__":
    main()

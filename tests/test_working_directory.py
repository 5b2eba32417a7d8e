"""Nothing is imported from the folder in which auditor is started, nor from a zoo's, unless its code is trusted."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from auditor.errors import ModelLoadError
from auditor.zoo.local import LocalZoo
from tests.factories import garden
from tests.factories.trusted_zoo import network, trusted
from tests.hostile import OF_PYTHON, have_run, make_hostile

AUDITOR = str(Path(sys.executable).with_name("auditor"))
SCAN = ("scan", "demo", "--protocol", "screen", "--model", "demo:standard", "--here")
ADAPT = (
    "adapt", "standard", "--superclasses", "tops | shoes", "--source", "coat | sneaker", "--target", "Shirt | sandal",
    "--source-images", "640", "--epochs", "1", "--held-out", "20", "--protocol", "quick", "--shots", "0",
    "--seeds", "3", "--here",
)  # fmt: skip
EARLY = "import runpy, pkgutil, pathlib, contextlib, os, sys; print(*{one.partition('.')[0] for one in sys.modules})"


def run(folder: Path, *program: str, seconds: float = 240, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program as somebody starts it in a folder; one that serves is told to end after a while."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AUDITOR_CHECKPOINTS": f"{folder}.checkpoints", **variables}
    process = subprocess.Popen(
        program, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(program, process.returncode, out, err)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    return make_hostile(tmp_path / "hostile")


@pytest.mark.long
@pytest.mark.parametrize(
    "words", [("results", "list"), ("doctor",), ("metrics", "--once"), SCAN, ADAPT], ids=lambda words: words[0]
)
def test_a_command_imports_nothing_from_where_it_is_started(hostile: Path, words: tuple[str, ...]) -> None:
    result = run(hostile, AUDITOR, *words)
    assert have_run(hostile) == []
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_packages_are_as_harmless_as_modules(tmp_path: Path) -> None:
    hostile = make_hostile(tmp_path / "hostile", packages=True)
    result = run(hostile, AUDITOR, *SCAN)
    assert (have_run(hostile), result.returncode) == ([], 0), result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [("serve", "--port", "0"), ("beat", "--here")], ids=lambda words: words[0])
def test_nor_does_a_program_that_stays(hostile: Path, words: tuple[str, ...]) -> None:
    run(hostile, AUDITOR, *words, seconds=12)
    assert have_run(hostile) == []


def without_early(folder: Path) -> None:
    """Leave what Python itself imports before it runs anything of ours."""
    early = subprocess.run([sys.executable, "-P", "-c", EARLY], capture_output=True, text=True, check=True).stdout
    for file in folder.glob("*.py"):
        if file.stem in {*early.split(), "nt", "encodings", *OF_PYTHON} or file.stem.startswith("_"):
            file.unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        None,
        ":",
        *(pytest.param(path, marks=pytest.mark.slow) for path in ("/nowhere:", ":/nowhere", "/nowhere::/nowhere")),
    ],
)
def test_python_m_and_empty_entries_of_pythonpath(hostile: Path, path: str | None) -> None:
    """An empty entry stands for the working directory, mostly because somebody appended to an unset variable."""
    without_early(hostile)
    start = [sys.executable, "-m", "auditor"] if path is None else [AUDITOR]
    result = run(hostile, *start, *SCAN, **({} if path is None else {"PYTHONPATH": path}))
    assert have_run(hostile) == []
    assert result.returncode == 0, result.stderr


def test_pythonpath_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    code = "import auditor.__main__, mine; print(mine.__file__)"
    for named in (str(tmp_path), "."):
        result = run(tmp_path, sys.executable, "-P", "-c", code, PYTHONPATH=f"/nowhere:{named}:")
        assert result.stdout.strip().endswith("mine.py"), result.stderr


def in_the_zoo(folder: Path) -> Path:
    """A zoo whose folder has files of all those names beside its own."""
    make_hostile(folder)
    garden.make(folder.parent / "garden")
    shutil.copytree(folder.parent / "garden", folder, dirs_exist_ok=True)
    return folder


@pytest.mark.slow
def test_a_trusted_zoo_does_not_take_the_place_of_what_is_installed(tmp_path: Path) -> None:
    zoo = in_the_zoo(tmp_path / "zoo")
    result = run(zoo, AUDITOR, "scan", "local", ".", "--trust-code", "--protocol", "quick", "--samples", "16", "--here")
    assert have_run(zoo) == []
    assert result.returncode == 0, result.stderr
    result = run(zoo, AUDITOR, *garden.boost(zoo, "--here"))
    assert have_run(zoo) == []
    assert result.returncode == 0, result.stderr


@pytest.mark.long
def test_a_zoo_that_is_not_trusted_runs_nothing_of_its_own(tmp_path: Path) -> None:
    zoo = in_the_zoo(tmp_path / "zoo")
    result = run(zoo, AUDITOR, "scan", "local", ".", "--protocol", "quick", "--samples", "16", "--here")
    assert have_run(zoo) == []
    assert (result.returncode, "--trust-code" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("timm", "from timm import my_own_network", "an installed package"),
        ("queue", "import queue; queue.my_own_network()", "the standard library"),
        ("safetensors", "from safetensors.mine import my_own_network", "an installed package"),
        ("calendar", "from calendar import my_own_network", "the standard library"),
    ],
)
def test_a_module_of_the_zoo_that_an_installed_one_hides_is_named(
    tmp_path: Path, name: str, line: str, kind: str
) -> None:
    source = trusted(tmp_path, f"{line}\n\n\ndef make():\n    return my_own_network()\n")
    (tmp_path / f"{name}.py").write_text("def my_own_network():\n    pass\n")
    (entry,) = source.entries()
    with pytest.raises(ModelLoadError) as caught:
        source.load(entry)
    assert f"; `import {name}` imports that of {kind}: rename {name} in the folder" in str(caught.value)


def test_modules_of_a_zoo_are_its_own_where_names_differ_from_installed_ones(tmp_path: Path) -> None:
    """Of two zoos with modules of one name each gets its own, a package and a module alike."""
    for number, name in enumerate(("one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        source = trusted(folder)
        (folder / "layers.py").unlink()
        (folder / "layers").mkdir()
        (folder / "layers" / "__init__.py").write_text("from .inner import scale\n")
        (folder / "layers" / "inner.py").write_text(
            f"from torch import nn\n\n\ndef scale():\n    return nn.Hardtanh({number}, {number + 1})\n"
        )
        save_file(network().state_dict(), folder / "net.safetensors")
        assert isinstance(source, LocalZoo)
        model = source.load(source.entries()[0]).model
        assert f"min_val={number}" in repr(model)


@pytest.mark.long
def test_a_worker_and_its_children_import_nothing_from_there(hostile: Path) -> None:
    broker = "redis://127.0.0.1:6379/14"
    redis = pytest.importorskip("redis")
    server = redis.Redis.from_url(broker, socket_connect_timeout=3)
    try:
        server.ping()
    except redis.RedisError:
        pytest.skip("needs Redis at 127.0.0.1:6379")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AUDITOR_BROKER_URL": broker}
    worker = subprocess.Popen(
        [AUDITOR, "worker", "--queue", "cpu"], cwd=hostile, env=environment, start_new_session=True
    )
    try:
        words = [word for word in SCAN if word != "--here"]
        result = run(hostile, AUDITOR, *words, "--queue", "--wait", AUDITOR_BROKER_URL=broker)
        assert have_run(hostile) == []
        assert result.returncode == 0, result.stderr
    finally:
        worker.terminate()
        worker.wait(60)
        server.delete(
            "_kombu.binding.auditor", "_kombu.binding_permanent.auditor", "cpu", "gpu", "unacked", "unacked_index"
        )

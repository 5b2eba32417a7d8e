"""The notebooks run, with few images; what they store is small and has no traces of the machine."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.docs.blocks import ROOT
from tests.factories.tools import load_tool

NOTEBOOKS = ROOT / "examples" / "notebooks"
SMALL: dict[str, dict[str, Any]] = {
    "audit_your_own_model": {"epochs": 1, "samples": 20},
    "read_the_results_of_a_zoo": {"samples": 8, "models": 3},
    "boost_and_prove": {"training": 1, "epochs": 1, "samples": 20},
    "use_the_service_from_python": {"samples": 16, "models": 2, "training": 500, "epochs": 1},
}


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")  # of Jupyter's own packages
def test_a_notebook_runs(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    short = tempfile.TemporaryDirectory()  # tmp_path is too long for the sockets of child processes
    monkeypatch.setenv("TMPDIR", short.name)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    with short:
        done = load_tool("notebooks").run_notebook(NOTEBOOKS / f"{name}.ipynb", SMALL[name])
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any(output.output_type in ("stream", "execute_result", "display_data") for output in outputs)


def test_a_parameter_that_is_none_is_refused() -> None:
    with pytest.raises(KeyError):
        load_tool("notebooks").run_notebook(NOTEBOOKS / "boost_and_prove.ipynb", {"no_such": 1})


def test_every_notebook_is_run() -> None:
    assert {file.stem for file in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_stored_is_executed_and_small(name: str) -> None:
    file = NOTEBOOKS / f"{name}.ipynb"
    assert file.stat().st_size < 200_000
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "run `make notebooks`"
    printed = "".join(str(cell.outputs) for cell in code)
    for trace in ("/tmp/", str(Path.home()), "\x1b[", "Traceback"):
        assert trace not in printed, trace

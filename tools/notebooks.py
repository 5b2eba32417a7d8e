"""Runs the notebooks in examples/notebooks: ``make notebooks`` stores what they print and draw."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
SECONDS = 900  # a cell may take
MACHINE = ("execution", "widgets")  # metadata about the run, which would differ each time


def run_notebook(file: Path, values: dict[str, Any] | None = None) -> nbformat.NotebookNode:
    """Run a notebook in a new kernel.

    Args:
        file: the notebook, which is not changed.
        values: what replaces the values of its cell with the tag ``parameters``; each name must be there.

    Returns:
        The notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised an exception.
        KeyError: the notebook has no parameter of that name.
    """
    notebook = nbformat.read(file, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for name, value in (values or {}).items():
        cell.source, found = re.subn(
            rf"^{name} = [^#\n]*?(?= *(?:#|$))", f"{name} = {value!r}", cell.source, flags=re.M
        )
        if not found:
            raise KeyError(name)
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
    for cell in notebook.cells:
        for name in MACHINE:
            cell.metadata.pop(name, None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for file in sorted(NOTEBOOKS.glob("*.ipynb")):
        sys.stderr.write(f"{file.name}\n")
        nbformat.write(run_notebook(file), file)

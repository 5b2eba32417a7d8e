"""Figures do not depend on matplotlib's settings, which it also reads from the working directory."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from auditor.plots import ZooPoint, draw_zoo, save
from auditor.plots.style import default_style

POINT = ZooPoint("m", "standard", x=0.1, robust=0.5, low=0.4, high=0.6, flagged=False)
RC = "text.usetex: True\nfont.size: 40\nsavefig.facecolor: red\n"
DRAW = """\
import sys
from pathlib import Path
from auditor.plots import ZooPoint, draw_zoo, save
point = ZooPoint("m", "standard", x=0.1, robust=0.5, low=0.4, high=0.6, flagged=False)
save(draw_zoo("title", "statement", "robust", [point]), Path(sys.argv[1]))
"""


def drawn(folder: Path, target: Path) -> bytes:
    programs = folder / "programs"
    programs.mkdir()
    for name in ("latex", "dvipng"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {folder}/has_run\nexit 1\n")
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    program = [sys.executable, "-P", "-c", DRAW, str(target)]
    subprocess.run(program, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    assert not (folder / "has_run").exists()
    return target.read_bytes()


@pytest.mark.long
def test_a_file_in_the_working_directory_changes_no_figure_and_runs_no_latex(tmp_path: Path) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    (tmp_path / "with" / "matplotlibrc").write_text(RC)
    with_file, without = (drawn(tmp_path / name, tmp_path / f"{name}.png") for name in ("with", "without"))
    assert with_file == without


def test_the_settings_of_a_program_stay(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 40, "text.usetex": True}):
        sizes: list[float] = []
        default_style(lambda: sizes.append(matplotlib.rcParams["font.size"]))()
        save(draw_zoo("title", "statement", "robust", [POINT]), tmp_path / "a.png")
        save(Figure(), tmp_path / "b.png")
        assert (sizes, matplotlib.rcParams["font.size"]) == ([10.0], 40)

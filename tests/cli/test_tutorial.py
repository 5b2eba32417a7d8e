"""docs/tutorial.md, walked: its commands run in their order, in an empty folder with an empty database."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories.command import run

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.long
def test_the_tutorial_leads_to_an_audit_of_ones_own_checkpoint(tmp_path: Path) -> None:
    blocks = BLOCK.findall(TUTORIAL.read_text())
    assert len(blocks) == 4
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    output = []
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=os.environ | {"PATH": path}, check=False,
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        output.append(done.stdout)
    rows = json.loads(run("results", "list", "--source", "local", "--sort", "n", "--format", "json").stdout)
    assert [(row["model"], row["protocol"], row["n"]) for row in rows] == [
        ("local:net", "quick", 20),
        ("local:net", "quick", 200),
    ]
    assert rows[1]["clean_accuracy"] > 0.8
    assert any("has fewer than 256 test images" in note for note in rows[1]["notes"])
    assert not any("attacks run on" in note for note in rows[1]["notes"])
    next_command = re.search(r"^  (auditor scan local \S+ --trust-code) ", output[1], re.MULTILINE)
    assert next_command is not None
    assert next_command[1] in blocks[2]  # what init prints is the tutorial's next step

"""No small file makes a reader take much memory: each bomb is refused in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.bombs import BOMBS

MOST_MIB = 300
MOST_SECONDS = 20


@pytest.mark.long
def test_bombs_are_refused_within_limits_of_memory_and_time() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.bombs"], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["bomb"] for one in found] == list(BOMBS)
    assert [one for one in found if not one["outcome"].startswith("error: ") or "\n" in one["outcome"]] == []
    assert [one for one in found if one["mib"] > MOST_MIB or one["seconds"] > MOST_SECONDS] == []

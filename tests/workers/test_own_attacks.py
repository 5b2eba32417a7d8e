"""Own attacks by workers: only by those that trust code, and only with the same file."""

import json
from pathlib import Path

import pytest

from auditor.zoo import select
from auditor.zoo.demo import DemoZoo
from tests.factories.attack_files import attack_file
from tests.workers.team import Team


@pytest.mark.long
@pytest.mark.parametrize("trusting", [True, False])
def test_a_worker_runs_own_attacks_only_if_it_trusts_code(team: Team, tmp_path: Path, trusting: bool) -> None:
    file = attack_file(tmp_path / "own")
    team.worker(trusting=trusting)
    words = ("--model", "standard", "--samples", 16, "--transfer-from", "demo:saturated")
    own = ("--attack", f"{file}:brighter", "--trust-code")
    result = team.auditor("scan", "demo", *words, *own, "--queue", "--wait", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert row["status"] == ("done" if trusting else "failed"), row["reason"]
    assert trusting or "run Python code that this worker does not trust" in row["reason"]
    plain = team.auditor("scan", "demo", *words, "--queue", "--wait", "--format", "json")
    (row,) = json.loads(plain.stdout)
    (saturated,) = select(DemoZoo().entries(), models=("demo:saturated",))
    digest = DemoZoo().load(saturated).weights_sha256
    assert (row["status"], row["extra_attacks"]) == ("done", f"transfer from demo:saturated@{digest[:8]}")

"""The workflow's steps and the hook for zoo files, run as CI and pre-commit run them."""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from junitparser import JUnitXml

from auditor.evidence.keys import load_public, make_key
from auditor.evidence.verify import verify_evidence
from tests.factories import garden

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "ci" / "robustness.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def load_workflow() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text())
    return found


def environment(home: Path, **values: str) -> dict[str, str]:
    """Of a fresh machine, on which auditor is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUDITOR_", "XDG_", "GIT_"))}
    home.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"} | values


def run_steps(repository: Path, home: Path, **values: str) -> dict[str, int]:
    """Run the steps with ``run:``, but for the installation, as the runner does; their exit codes by name.

    After a step that failed, only those with ``if: always()`` run. Expressions have no values, as secrets of forks.
    """
    workflow, codes = load_workflow(), {}
    for step in workflow["jobs"]["audit"]["steps"]:
        failed = any(codes.values())
        if "run" not in step or step["name"] == "Install" or (failed and step.get("if") != "always()"):
            continue
        own = {name: "" if "${{" in value else value for name, value in step.get("env", {}).items()}
        variables = environment(home, **workflow["env"] | own | values)
        words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(words, cwd=repository, env=variables, capture_output=True, text=True)
        codes[step["name"]] = done.returncode
        print(done.stdout, done.stderr)
    return codes


def test_the_workflow_fits_the_schema_of_github() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/github-workflows.json").read_text())
    workflow = load_workflow()
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads `on` as true
    jsonschema.validators.validator_for(schema)(schema).validate(workflow)
    steps = workflow["jobs"]["audit"]["steps"]
    assert next(step["name"] for step in steps if "run" in step) == "Install"
    assert not any("${{" in step.get("run", "") for step in steps), "expressions in scripts are injections"


@pytest.mark.long
@pytest.mark.parametrize(("least", "code"), [("0%", 0), ("99.5%", 4)])
def test_its_steps_gate_a_checkpoint(least: str, code: int, tmp_path: Path) -> None:
    """If the gate is met, with a key of the secret; else without one, and the steps after the failed one run, too."""
    repository, home = tmp_path / "repository", tmp_path / "home"
    garden.make(repository / "models")
    public = make_key(tmp_path / "team.key")
    values = {"LEAST": least, "OPTIONS": "--protocol quick --samples 16 --trust-code"}
    if code == 0:
        values["EVIDENCE_KEY"] = (tmp_path / "team.key").read_text()
    assert run_steps(repository, home, **values) == {
        "Check the zoo file": 0, "Audit the checkpoints": code, "Sign the evidence": 0,
    }  # fmt: skip
    (run,) = json.loads((repository / "robustness.sarif").read_text())["runs"]
    alerts = [result for result in run["results"] if result["ruleId"] == "gate-not-met"]
    assert len(alerts) == (1 if code else 0)
    for result in alerts:
        place = result["locations"][0]["physicalLocation"]
        assert place == {"artifactLocation": {"uri": "models/zoo.toml"}, "region": {"startLine": 2}}
    (suite,) = JUnitXml.fromfile(str(repository / "robustness.xml"))
    assert (suite.name, suite.tests, suite.failures) == ("local:plant", 2, len(alerts))
    found = verify_evidence(repository / "evidence", load_public(public) if code == 0 else None)
    assert (found.problems, found.trusted) == ((), code == 0)
    assert not (home / "evidence.key").exists()


GOOD, BAD = "", 'epss = "8/255"\n'


def repository_of(folder: Path, **zoos: str) -> Path:
    """A git repository with a zoo in each folder; the text is added to its zoo.toml."""
    for name, text in zoos.items():
        zoo = garden.make(folder / name)
        content = (zoo / "zoo.toml").read_text()
        (zoo / "zoo.toml").write_text(content.replace("eps = 0.1\n", f"eps = 0.1\n{text}"))
    (folder / "notes.toml").write_text("not a zoo = [")
    (folder / ".pre-commit-config.yaml").write_text(
        yaml.safe_dump({"repos": [{"repo": "local", "hooks": yaml.safe_load(HOOKS.read_text())}]})
    )
    for words in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("zoos", "code", "said"),
    [
        ({"good": GOOD}, 0, "Passed"),
        ({"bad": BAD}, 1, "bad: zoo.toml:6: models[0].epss: unknown key; did you mean eps?"),
        ({"good": GOOD, "bad": BAD}, 1, "1 of 2 zoo files with mistakes"),
    ],
)
def test_pre_commit_runs_the_hook_on_zoo_files_only(zoos: dict[str, str], code: int, said: str, tmp_path: Path) -> None:
    repository = repository_of(tmp_path / "repository", **zoos)
    words = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
    done = subprocess.run(words, cwd=repository, env=environment(tmp_path / "home"), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    assert "notes.toml" not in done.stdout


def test_the_hooks_file_is_valid() -> None:
    done = subprocess.run([sys.executable, "-m", "pre_commit", "validate-manifest", str(HOOKS)], capture_output=True)
    assert done.returncode == 0, done.stderr

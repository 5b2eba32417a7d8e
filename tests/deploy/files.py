"""Dockerfile, compose.yaml and the commands of docs/operations.md, as tests need them."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
OPERATIONS = ROOT / "docs" / "operations.md"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begin = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[begin:]


def image() -> dict[str, Any]:
    """What the image runs: entrypoint, command, healthcheck, environment."""
    stage = last_stage()
    said = dict(stage)
    environment = dict(part.split("=", 1) for word, rest in stage if word == "ENV" for part in shlex.split(rest))
    check = said["HEALTHCHECK"]
    return {
        "entrypoint": json.loads(said["ENTRYPOINT"]),
        "command": json.loads(said["CMD"]),
        "healthcheck": json.loads(check.partition("CMD ")[2]),
        "environment": environment,
        "user": said["USER"],
    }


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def commands(heading: str) -> list[str]:
    """The blocks of shell under a heading of docs/operations.md."""
    section = OPERATIONS.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def seconds(text: str) -> int:
    """``90s`` as a number."""
    return int(text.removesuffix("s"))

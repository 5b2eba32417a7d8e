"""constraints.txt from the environment that the tests run in: ``make constraints`` writes it, a test checks it."""

import re
import subprocess
import sys

import click

HEAD = """\
# What the tests passed with, on Python {python} and Linux: pip install -c constraints.txt '.[zoos,service]'
# Written by `make constraints`. Builds of torch for the CPU and for CUDA have the same version; what only one of them
# needs is here, too, and is installed with that one only.
"""


def pinned(frozen: str) -> list[str]:
    """``name==version`` of pip's list, without what is installed from a folder, pip, and local labels of builds."""
    found = [line for line in frozen.splitlines() if re.fullmatch(r"[\w.-]+==\S+", line)]
    others = [line for line in found if line.partition("==")[0].lower() not in ("pip", "auditor")]
    return sorted((line.partition("+")[0] for line in others), key=str.lower)


if __name__ == "__main__":
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    python = ".".join(str(part) for part in sys.version_info[:2])
    click.echo(HEAD.format(python=python) + "\n".join(pinned(frozen)))

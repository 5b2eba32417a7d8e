"""A zoo.toml as a file: read if it is one, of a size and depth that a person writes."""

import re
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 4_000_000
DEEPEST = 50
KEY = re.compile(r"""[ \t]*([\w-]+|"[^"]*"|'[^']*')[ \t]*""")


def read_file(path: Path) -> bytes:
    """What is in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is a folder, a pipe or a device, which is not waited for, or too large.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise ValueError(f"expected a file, got {kind}")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES // 1_000_000} MB, got more: is it the right file?")
    return content


def check_dots(text: str) -> None:
    """Refuse keys of more parts than tables may be deep, before a parser takes minutes for them.

    Raises:
        ValueError: names the line.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") <= DEEPEST:
            continue
        run = 0
        for part in line.split("."):
            run = run + 1 if KEY.fullmatch(part) else 0
            if run > DEEPEST:
                raise ValueError(f"expected keys of at most {DEEPEST} parts, got a longer one (at line {number})")


def check_depth(document: dict[str, Any]) -> None:
    """Refuse tables and lists inside of each other that nobody writes by hand.

    Raises:
        ValueError: they are too deep.
    """
    level: list[Any] = [document]
    for _ in range(DEEPEST):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"expected tables and lists at most {DEEPEST} deep in each other, got more")

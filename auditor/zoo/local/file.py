"""Read a zoo.toml, and refuse files that are too large or nested too deep."""

import re
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 4_000_000
DEEPEST = 50
KEY = re.compile(r"""[ \t]*([\w-]+|"[^"]*"|'[^']*')[ \t]*""")


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, or a folder, a pipe or a device.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise ValueError(f"expected a file, got {kind}")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES // 1_000_000} MB, got a larger file")
    return content


def check_dots(text: str) -> None:
    """Refuse dotted keys with too many parts, for which the parser would take minutes.

    Raises:
        ValueError: a key is too long; the message names the line.
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
    """Refuse tables and lists that are nested too deep.

    Raises:
        ValueError: the nesting is too deep.
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
    raise ValueError(f"expected at most {DEEPEST} levels of nested tables and lists, got more")

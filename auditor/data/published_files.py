"""Files whose MD5 is published, read once: a file that is exchanged or written to afterwards changes nothing."""

import hashlib
from pathlib import Path
from typing import Final

from auditor.files import read_limited

LARGEST: Final = 1 << 28
"""Bytes of the largest file that is read; the largest published one, SVHN's training pictures, has 182 million."""


def read_checked(path: Path, md5: str | None) -> bytes:
    """The bytes of a file with this MD5; None is the MD5 of no file.

    Raises:
        OSError: the file is missing, or cannot be read.
        ValueError: it has another MD5, or is too large.
    """
    content = read_limited(path, LARGEST)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"its MD5 is not that of the published {path.name}: download it again")
    return content

"""Folders of evidence whose signer is hostile: whatever is signed, verifying it names what is wrong."""

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.config import settings
from auditor.evidence import layout
from auditor.evidence.keys import load_signer
from auditor.evidence.statement import sign_statement
from auditor.evidence.verify import verify_evidence
from auditor.text.printable import find_unprintable
from tests.factories.evidence import make_evidence
from tests.fuzz.contract import BrokenPromiseError, Target

STATEMENT, ENVELOPE = b"s", b"e"


@functools.cache
def _sound() -> tuple[dict[str, bytes], Any, dict[str, Any]]:
    """The files of sound evidence, its signer, and its statement."""
    with tempfile.TemporaryDirectory() as place:
        before = os.environ.get("AUDITOR_DATABASE_URL")
        os.environ["AUDITOR_DATABASE_URL"] = f"sqlite:///{place}/auditor.db"
        settings.cache_clear()
        try:
            folder, _ = make_evidence(Path(place))
        finally:
            os.environ.pop("AUDITOR_DATABASE_URL")
            os.environ |= {} if before is None else {"AUDITOR_DATABASE_URL": before}
            settings.cache_clear()
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        signer = load_signer(Path(place) / "signer.key")
    from base64 import b64decode

    return files, signer, json.loads(b64decode(json.loads(files[layout.ENVELOPE])["payload"]))


def evidence(data: bytes, folder: Path) -> None:
    """The first byte says which file the rest is; all digests and the signature are made to fit."""
    sound, signer, statement = _sound()
    names, files = _names(), dict(sound)
    kind, content = data[:1], data[1:]
    if kind == ENVELOPE:
        files[layout.ENVELOPE] = content
    else:
        if kind == STATEMENT:
            try:
                statement = json.loads(content)
            except (ValueError, RecursionError):
                return
        elif kind and kind[0] < len(names):
            files[names[kind[0]]] = content
            statement = statement | {"predicate": statement["predicate"] | {"files": _digests(files)}}
        files[layout.ENVELOPE] = sign_statement(statement, signer)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for problem in verify_evidence(folder).problems:
        if find_unprintable(problem) or len(problem) > 2000:
            raise BrokenPromiseError(f"a problem that cannot be shown: {problem!r:.200}")


def _digests(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [
        {"name": name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
        for name, content in sorted(files.items())
        if name != layout.ENVELOPE
    ]


def _names() -> list[str]:
    return sorted(set(_sound()[0]) - {layout.ENVELOPE})


def seeds() -> Sequence[bytes]:
    files, _, statement = _sound()
    made = [bytes([number]) + files[name] for number, name in enumerate(_names())]
    return [*made, STATEMENT + json.dumps(statement).encode(), ENVELOPE + files[layout.ENVELOPE]]


TARGETS = (Target("evidence", evidence, seeds, length=16384),)

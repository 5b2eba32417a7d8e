"""Verifies a folder of evidence: signature, digests, and every figure from the verdicts. Needs no database, no model.

A valid signature shows that the holder of a key made the files, and that nobody changed them since. It does not show
that the verdicts are true: for that, repeat the audit (seed, versions and digests are in the records).
"""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from auditor.errors import EvidenceError, UsageError, first_line
from auditor.evidence import bom, card, junit, layout, sarif
from auditor.evidence.figures import compute_figures, find_differences
from auditor.evidence.keys import check_installed, public_pem, read_public
from auditor.evidence.standards import write_standards
from auditor.evidence.statement import open_envelope, subject_of, summary_of
from auditor.files import open_regular
from auditor.records.evidence import EvidenceRecord, record_from
from auditor.text.printable import clean_line

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

MOST_BYTES: Final = 1_000_000_000
"""Larger files are refused unread, because files of others may be made to fill the memory."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was verified.

    Attributes:
        problems: what is wrong, one line each, beginning with the file's name; empty if the evidence is valid.
        key: the ID of the key that signed; None if that could not be checked.
        trusted: whether the user named that key. If not, the key of the folder was used, which anybody can replace.
        created: the time of the signature, as its maker states it.
        audits: the audits, with the figures that were computed from the verdicts.
        figures: the number of figures that were computed and compared.
        other_producer: the version of auditor that made the files, if it is not this one. Then their texts are not
            compared with those that this version writes, only their figures, names and flags.
        not_included: models of the scan without evidence, with the reason.
    """

    problems: tuple[str, ...]
    key: str | None = None
    trusted: bool = False
    created: str | None = None
    audits: tuple[dict[str, Any], ...] = ()
    figures: int = 0
    other_producer: str | None = None
    not_included: tuple[dict[str, Any], ...] = ()


def verify_evidence(folder: Path, key: "SSlibKey | None" = None) -> Verification:
    """Verify a folder; ``key`` is the public key of the signer, None to use the one in the folder.

    Raises:
        UsageError: the folder does not exist, or is not readable.
        EnvironmentUnusableError: the extra ``evidence`` is not installed.
    """
    check_installed()
    files = _Files(folder)
    try:
        signer = _find_signer(files, key)
        statement = open_envelope(layout.ENVELOPE, files.read(layout.ENVELOPE), signer)
    except EvidenceError as error:
        return Verification(problems=(*files.problems, str(error)))
    files.compare(statement["digests"])
    if key is not None and files.content.get(layout.PUBLIC_KEY) != public_pem(key):
        files.report(layout.PUBLIC_KEY, "it is not the key that was given")
    checker = _Checker(files, statement)
    checker.check()
    return Verification(
        problems=tuple(dict.fromkeys(files.problems)),
        key=signer.keyid,
        trusted=key is not None,
        created=str(statement["predicate"].get("created")),
        audits=tuple(checker.audits),
        figures=checker.figures,
        other_producer=checker.other_producer,
        not_included=tuple(statement["notIncluded"]),
    )


def _find_signer(files: "_Files", key: "SSlibKey | None") -> "SSlibKey":
    """The key that was given, else the one in the folder, which must be in its one form."""
    if key is not None:
        return key
    content = files.read(layout.PUBLIC_KEY)
    found = read_public(layout.PUBLIC_KEY, content)
    if public_pem(found) != content:
        raise EvidenceError(f"{layout.PUBLIC_KEY}: changed: it is not in the form in which evidence is written")
    if found.keyid.encode() not in files.read(layout.ENVELOPE):
        raise EvidenceError(
            f"{layout.PUBLIC_KEY} or {layout.ENVELOPE}: changed: the key is {found.keyid}, and another one signed"
        )
    return found


@dataclass
class _Files:
    """The files of a folder, and what is wrong with them."""

    folder: Path
    problems: list[str] = field(default_factory=list)
    names: dict[str, Path] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(f"there is no folder {self.folder}: name one that `auditor evidence export` made")

        def refuse(error: OSError) -> None:
            raise UsageError(f"cannot read {error.filename}: {error.strerror}") from error

        for place, folders, files in os.walk(self.folder, onerror=refuse):
            for name in [*files, *(one for one in folders if (Path(place) / one).is_symlink())]:
                path = Path(place) / name
                self.names[path.relative_to(self.folder).as_posix()] = path

    def report(self, name: str, problem: str) -> None:
        self.problems.append(f"{name}: {problem}")

    def read(self, name: str) -> bytes:
        """The content of a file. Raises EvidenceError: it is missing, no plain file, or too large."""
        if name in self.content:
            return self.content[name]
        path = self.names.get(name)
        if path is None:
            raise EvidenceError(f"{name}: missing")
        try:
            with open_regular(path, beneath=self.folder) as file:
                if os.fstat(file.fileno()).st_size > MOST_BYTES:
                    raise EvidenceError(f"{name}: larger than {MOST_BYTES // 1_000_000:,} MB")
                self.content[name] = file.read()
        except ValueError as error:
            raise EvidenceError(f"{name}: expected a file, got a link or something else") from error
        except OSError as error:
            raise EvidenceError(f"{name}: cannot be read: {error.strerror}") from error
        return self.content[name]

    def compare(self, digests: Mapping[str, str]) -> None:
        """Report files that are missing, added or changed; the content of a changed file is forgotten."""
        for name in sorted({*digests, *self.names} - {layout.ENVELOPE}):
            if name not in digests:
                self.report(name, "added: it is not part of the evidence")
                continue
            try:
                content = self.read(name)
            except EvidenceError as error:
                self.problems.append(str(error))
                continue
            if hashlib.sha256(content).hexdigest() != digests[name]:
                self.report(name, "changed: its SHA-256 is not the one that was signed")
                del self.content[name]


@dataclass
class _Checker:
    """Compares the figures in all unchanged files with those that follow from the verdicts."""

    files: _Files
    statement: dict[str, Any]
    audits: list[dict[str, Any]] = field(default_factory=list)
    figures: int = 0

    @functools.cached_property
    def other_producer(self) -> str | None:
        """The version of auditor that the statement names as its producer, if it is not this one."""
        producer = self.statement["predicate"].get("producer")
        found = producer.get("version") if isinstance(producer, dict) else None
        return None if found == version("auditor") else f"{found}"

    def check(self) -> None:
        summaries = self.statement["predicate"]["audits"]
        if not summaries:
            self.files.report(layout.ENVELOPE, "it is about no audit")
        models: dict[int, dict[str, Any]] = {}
        records = []
        for summary in summaries:
            record = self._load(summary)
            if record is None:
                return
            number, computed = record.audit.id, summary_of(record)
            self._compare(layout.ENVELOPE, f"audit {number}", computed, summary)
            self._check_files(record)
            records.append(record)
            shown = {name: value for name, value in computed["figures"].items() if name in sarif.FIGURES}
            models[number] = {"model": record.model.name, "flags": record.flags} | shown
            self.audits.append(computed | {"not_recomputed": sorted(record.stated)})
            self.figures += _count(record.figures)
        self._compare(layout.ENVELOPE, "subject", [subject_of(one) for one in records], self.statement.get("subject"))
        self._parse_and_compare(layout.SARIF, models, sarif.read_models)
        printable = {number: one | {"model": clean_line(one["model"])} for number, one in models.items()}
        self._parse_and_compare(layout.JUNIT, printable, junit.read_models)
        self._compare_text(layout.STANDARDS, write_standards(records))

    def _load(self, summary: Any) -> EvidenceRecord | None:
        """The record that a summary names, with the figures that follow from its verdicts; None if it is unreadable."""
        try:
            name = layout.record_name(int(summary["audit"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            self.files.report(layout.ENVELOPE, "it has an audit without an ID")
            return None
        if (content := self._require(name)) is None:
            return None
        try:
            record = record_from(name, content)
            figures = compute_figures(record)
        except EvidenceError as error:
            text = str(error)
            self.files.problems.append(text if text.startswith(name) else f"{name}: {text}")
            return None
        differences = list(find_differences(figures, record.figures, "figures"))
        for difference in differences:
            self.files.report(name, f"does not follow from the verdicts: {difference}")
        if layout.record_name(record.audit.id) != name:
            self.files.report(name, f"it is the record of audit {record.audit.id}")
            return None
        return replace(record, figures=figures) if differences else record

    def _check_files(self, record: EvidenceRecord) -> None:
        number = record.audit.id
        self._parse_and_compare(layout.bom_name(number), bom.card_of(record), bom.read_card)
        self._parse_and_compare(layout.card_name(number), card.index_of(record), card.read_index)
        self._compare_text(layout.card_name(number), card.write_card(record))
        if (results := card.write_eval_results(record)) is not None:
            name, value = layout.eval_results_name(number), record.figures["robust_accuracy"]["value"]
            self._parse_and_compare(name, value, card.read_value)
            self._compare_text(name, results)

    def _require(self, name: str) -> bytes | None:
        """The content of a file that evidence must have; None if it is wrong, which is reported."""
        if name not in self.statement["digests"]:
            self.files.report(name, "missing: the signed list of files does not have it")
        return self.files.content.get(name)

    def _parse_and_compare(self, name: str, expected: Any, parse: Callable[[bytes], Any]) -> None:
        content = self._require(name)
        if content is None:
            return
        try:
            found = parse(content)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, SyntaxError, RecursionError) as error:
            self.files.report(name, f"its figures cannot be read: {first_line(error)}")
            return
        self._compare(name, "", expected, found)

    def _compare_text(self, name: str, expected: bytes) -> None:
        """Compare a file with what this version writes from the verdicts, if this version made it."""
        content = self._require(name)
        if content is None or content == expected or self.other_producer is not None:
            return
        found, wanted = content.splitlines(), expected.splitlines()
        line = next((k for k, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), len(wanted))
        self.files.report(name, f"line {line + 1} does not follow from the verdicts")

    def _compare(self, name: str, place: str, expected: Any, found: Any) -> None:
        for difference in find_differences(expected, found, place):
            self.files.report(name, f"does not follow from the verdicts: {difference}")


def _count(figures: Any) -> int:
    """The number of numbers in plain values."""
    return sum(1 for value in _leaves(figures) if isinstance(value, int | float) and not isinstance(value, bool))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value

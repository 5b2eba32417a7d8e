"""``auditor evidence``: make a key, export results as signed files, verify such files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.group import Group
from auditor.cli.options import FORMAT
from auditor.text.numbers import counted
from auditor.text.printable import clean_line

if TYPE_CHECKING:
    from auditor.evidence.verify import Verification


class Target(click.ParamType[tuple[str, int]]):
    """An audit or a scan: ``12`` or ``audit:12``, ``scan:7``."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        match = re.fullmatch(r"(?:(audit|scan):)?([0-9]{1,9})", str(value))
        if match is None:
            self.fail(f"expected an audit such as 12, or a scan such as scan:7, got {value!r:.60}", param, ctx)
        return match[1] or "audit", int(match[2])


@click.group("evidence", cls=Group)
def command() -> None:
    """Export results as signed files that others can verify, and verify such files."""


@command.command()
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the private key to this file, and the public key to FILE.pub. By default: AUDITOR_EVIDENCE_KEY.",
)  # fmt: skip
def keygen(out: Path | None) -> None:
    """Make a key pair to sign evidence with; no file is overwritten.

    The private key has no passphrase; only its owner can read the file. Give the public key to those who verify your
    evidence, by another way than the evidence itself.

    \b
    Examples:
      auditor evidence keygen
      auditor evidence keygen --out team.key
    """
    from auditor.config import settings
    from auditor.evidence.keys import load_signer, make_key

    private = out or settings().evidence_key
    public = make_key(private)
    click.echo(f"private key: {private}\npublic key: {public}\nkey ID: {load_signer(private).public_key.keyid}")


@command.command()
@click.argument("target", metavar="ID", type=Target())
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", required=True,
    help="Write to this folder, which has to be new or empty.",
)  # fmt: skip
@click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Sign with the private key in this file. By default: AUDITOR_EVIDENCE_KEY.",
)  # fmt: skip
def export(target: tuple[str, int], folder: Path, key: Path | None) -> None:
    """Write the evidence of an audit or of a scan as signed files.

    ID is the id of a result (`auditor results list --format json`), or scan:ID. The folder has the verdict on each
    sample, a CycloneDX ML-BOM, a model card for the Hugging Face hub, SARIF, JUnit XML, a mapping to standards, and a
    signed in-toto statement with the digests of all files. docs/evidence.md describes them.

    Audits of a scan without verdicts are listed with the reason. Nothing is exported if a stored figure does not follow
    from the stored verdicts.

    \b
    Examples:
      auditor evidence export 12 --out evidence
      auditor evidence export scan:7 --out evidence --key team.key

    Exit codes: 0 the files are written; 2 wrong usage; 3 the database is not usable, or `auditor[evidence]` is not
    installed; 4 the stored figures contradict the stored verdicts.
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.progress import say
    from auditor.config import settings
    from auditor.evidence.collect import collect_audit, collect_scan
    from auditor.evidence.export import export_evidence
    from auditor.evidence.keys import load_signer

    signer = load_signer(key or settings().evidence_key)
    kind, number = target
    collected = (collect_audit if kind == "audit" else collect_scan)(open_database(), number)
    files = export_evidence(collected, signer, folder)
    for one in collected.not_included:
        say(f"not included: {one.model}: {one.reason}")
    say(f"{folder}: {counted(len(collected.records), 'audit')}, {counted(len(files), 'file')}, signed with the key "
        f"{signer.public_key.keyid}")  # fmt: skip


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), metavar="PUB",
    help="Accept only the signature of this public key, which you have from the signer.",
)  # fmt: skip
@FORMAT
def verify(folder: Path, key: Path | None, output_format: str) -> None:
    """Verify the evidence in a folder: its signature, its files, and every figure from the verdicts.

    It needs no database and no model. A file that was changed, added or removed is named. Without --key the signature
    is checked with the key in the folder. That finds accidents only: whoever changes the files can sign them again with
    another key.

    \b
    Examples:
      auditor evidence verify evidence --key team.key.pub
      auditor evidence verify evidence --format json

    Exit codes: 0 the evidence is valid; 2 wrong usage; 3 `auditor[evidence]` is not installed; 4 it is not valid.
    """
    from auditor.cli.output.progress import say
    from auditor.errors import EvidenceError
    from auditor.evidence.keys import load_public
    from auditor.evidence.verify import verify_evidence

    found = verify_evidence(folder, None if key is None else load_public(key))
    if output_format == "json":
        from auditor.cli.output.tables import print_json

        print_json([found])
    elif not found.problems:
        _print_verified(found)
    for problem in found.problems:
        say(clean_line(f"not valid: {problem}"))
    if found.problems:
        raise EvidenceError(f"{folder} is not valid evidence: {counted(len(found.problems), 'problem')}")
    if not found.trusted:
        say(
            f"not trusted: the signature fits the key {found.key} in the folder itself. That finds accidents only: "
            "whoever changes the files can sign them again with another key. Get the signer's public key by another "
            "way, and add --key PUB"
        )


def _print_verified(found: "Verification") -> None:
    from auditor.cli.output.tables import print_table
    from auditor.text.eps import format_threat
    from auditor.text.numbers import interval, percent_number

    rows = []
    for audit in found.audits:
        figures = audit["figures"]
        ends = interval(figures["robust_low"], figures["robust_high"], percent_number)
        rows.append(
            (
                str(audit["audit"]),
                audit["model"],
                audit["protocol"],
                format_threat(audit["norm"], audit["eps"]),
                str(figures["n"]),
                percent_number(figures["clean_accuracy"]),
                f"{percent_number(figures['robust_accuracy'])} ({ends})",
                ", ".join(audit["flags"]),
            )
        )
    print_table(("audit", "model", "protocol", "threat", "n", "clean %", "robust % (95 % interval)", "flags"), rows)
    for one in found.not_included:
        click.echo(clean_line(f"not included: {one['model']}: {one['reason']}"))
    if found.other_producer is not None:
        texts = "figures, names and flags were checked, the other texts of cards and standards.json were not"
        click.echo(clean_line(f"made by auditor {found.other_producer:.40}: {texts}"))
    signed = "signed by the given key" if found.trusted else "the signature is consistent"
    click.echo(
        f"valid: {counted(found.figures, 'figure')} computed from the verdicts, all files unchanged, {signed} "
        f"{found.key}, {found.created}"
    )

"""What commands cost that only read, against programs that do the same with the libraries alone.

    OMP_NUM_THREADS=1 python -m benchmarks.commands [help | list] [--repeats 15] [--audits 400]     # some 30 seconds

One line a ratio: the median over repeats of CPU seconds (user and system) of child processes of one interpreter, the
two sides in turn. The installed script's two lines are run, not `python -m`.

1. `auditor --help` against a click program of one file with as many commands, each with an option. Reach: at most 2.
2. `auditor results list` on an SQLite database of so many audits, as a table, against click and SQLAlchemy's ORM
   session with the very SQL that the command sends, tables not declared, rows printed tab by tab. Reach: at most 1.5.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import Engine, event

from auditor.cli import Commands
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import AuditRecord, AuditRequest, Clustering, ClusteringScores, ZooEntry
from auditor.scans.request import ScanRequest
from benchmarks.side_by_side import AUDITOR, in_turns, ratio_line, run

BARE_HELP = """
import click

@click.group()
def main():
    '''A program.'''

for name in {names}:
    @main.command(name)
    @click.option("--number", type=int, help="A number.")
    def command(number):
        '''What this command does, in one line.'''

main(prog_name="bare")
"""
BARE_LIST = """
import click
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

@click.group()
def main():
    '''A program.'''

@main.command("list")
def list_rows():
    '''List results.'''
    with Session(create_engine({url!r})) as session:
        for row in session.connection().exec_driver_sql({statement!r}, {parameters!r}):
            click.echo("\\t".join(map(str, row)))

main(prog_name="bare")
"""


def entry(number: int) -> ZooEntry:
    return ZooEntry(
        model=f"demo:model-{number:04}",
        source="demo",
        description="a network of the benchmark",
        architecture={"name": "small"},
        preprocessing={"mean": [0.2860], "std": [0.3530]},
        dataset="fashion_mnist",
        threat_model="Linf",
        norm="Linf",
        eps=0.1,
        input_size=(1, 28, 28),
        training={"method": "at", "eps": 0.1, "epochs": 20},
    )


def record(entry: ZooEntry, robust: float) -> AuditRecord:
    scores = ClusteringScores(
        intra=robust, inter=-robust, gap=2 * robust, silhouette=0.1, rand_index=0.2, cophenetic=0.9, p_value=0.01,
        effective_rank=4.0, leaf_order=tuple(range(10)), reasons={},
    )  # fmt: skip
    kinds = ("weights", "centred", "deflated", "features")
    return AuditRecord(
        entry=entry,
        identity=f"{entry.model:0<64}",
        protocol="quick",
        parameters={"attacks": []},
        linearization="remove",
        hierarchy="fashion_mnist",
        seed=0,
        weights_sha256="w" * 64,
        classes=tuple("abcdefghij"),
        superclasses=tuple("aabbccddee"),
        n=256,
        clean_accuracy=0.9,
        robust_accuracy=robust,
        robust_low=0.9 * robust,
        robust_high=min(1.0, 1.1 * robust),
        affinity_error=1e-7,
        clusterings=tuple(Clustering(kind=kind, scores=scores, matrix=np.eye(10)) for kind in kinds),
        notes=("a note",),
        seconds=1.0,
        batch_size=256,
        versions={"auditor": "0.1.0", "torch": "2.10"},
    )


def seed(engine: Engine, audits: int) -> None:
    """So many models, each audited once."""
    store, entries = Store(engine), [entry(number) for number in range(audits)]
    request = ScanRequest.make(AuditRequest(protocol="quick"), samples=None)
    _, jobs = store.create_scan("demo", request.to_json(), entries)
    for number, job in enumerate(jobs):
        attempt = store.claim(job.audit_id)
        assert attempt is not None
        store.finish(job.audit_id, attempt, record(job.entry, number / audits))


def list_statement(engine: Engine) -> tuple[str, tuple[object, ...]]:
    """The statement of `auditor results list`, which it sends last, with its parameters."""
    statements: list[tuple[str, tuple[object, ...]]] = []

    def remember(_: object, __: object, statement: str, parameters: tuple[object, ...], *___: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", remember)
    list_results(engine, Filter())
    event.remove(engine, "before_cursor_execute", remember)
    return statements[-1]


def help_line(folder: Path, repeats: int) -> str:
    bare = folder / "bare_help.py"
    bare.write_text(BARE_HELP.format(names=list(Commands.modules)))
    pairs = in_turns(lambda: run([*AUDITOR, "--help"]).cpu, lambda: run([str(bare), "--help"]).cpu, repeats)
    return ratio_line("CPU time of auditor --help / bare click", pairs, 2)


def list_line(folder: Path, repeats: int, audits: int) -> str:
    url = f"sqlite:///{folder / 'audits.db'}"
    engine = open_database(url)
    seed(engine, audits)
    statement, parameters = list_statement(engine)
    engine.dispose()
    bare = folder / "bare_list.py"
    bare.write_text(BARE_LIST.format(url=url, statement=statement, parameters=parameters))
    pairs = in_turns(
        lambda: run([*AUDITOR, "results", "list"], AUDITOR_DATABASE_URL=url).cpu,
        lambda: run([str(bare), "list"]).cpu,
        repeats,
    )
    return ratio_line(f"CPU time of auditor results list / bare click and SQLAlchemy, {audits} audits", pairs, 1.5)


def lines(part: str | None = None, *, repeats: int = 15, audits: int = 400) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="auditor-bench-") as name:
        if part in (None, "help"):
            yield help_line(Path(name), repeats)
        if part in (None, "list"):
            yield list_line(Path(name), repeats, audits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("help", "list"), help="only this one")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--audits", type=int, default=400)
    options = parser.parse_args()
    for line in lines(options.part, repeats=options.repeats, audits=options.audits):
        print(line, flush=True)


if __name__ == "__main__":
    main()

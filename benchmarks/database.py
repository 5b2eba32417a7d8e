"""How long lists of results take of a million audits in PostgreSQL.

    OMP_NUM_THREADS=1 python -m benchmarks.database [--server URL] [--models 1000] [--nights 1000] [--repeats 20]

Made for the measurement and dropped after it is a database of so many models, each audited every night: one audit a
model and night, with the clustering of its weights and the verdicts on 256 samples, of two data sets and protocols.
One line a list: the median and the longest of the repeats; then how PostgreSQL finds the first of them. Reach: at most
100 ms at the median for 20 rows. Last, the sizes of the tables, a backup by `pg_dump -Fc`, and pruning. `--keep NAME`
makes the database by that name where there is none, and leaves it as it is. The seconds are of this machine.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, create_engine, event, text

from auditor.db.boards import count_boards, load_board
from auditor.db.codec import pack_bits, pack_indices, pack_numbers, pack_pictures
from auditor.db.filters import Cursor
from auditor.db.prune import prune
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database

SAMPLES = 256
"""Of the verdicts of each audit, as under `quick`."""
MODELS = """
INSERT INTO models (name, source, description, dataset, architecture, training)
SELECT 'timm:model-' || LPAD(m::text, 4, '0'), 'timm', 'a network of the benchmark', 'cifar10',
       '{"name": "timm", "arguments": {"model": "resnet18"}}', '{"method": "at", "eps": 0.031}'
FROM generate_series(1, :models) m
"""
AUDITS = """
INSERT INTO audits (id, model_id, identity, state, attempt, reason, latest, latest_done, dataset, threat_model, norm,
                    eps, protocol, samples, linearization, seed, parameters, hierarchy, classes, superclasses,
                    weights_sha256, images_sha256, n, clean_accuracy, robust_accuracy, robust_low, robust_high,
                    affinity_error, flags, notes, not_measurable, seconds, device, batch_size, versions, queued_at,
                    started_at, finished_at, confirmed_at)
SELECT CAST(:before AS integer) + m, m, md5(m || ' ' || CAST(:night AS text)),
       CASE WHEN failed THEN 'failed' ELSE 'done' END, 1, CASE WHEN failed THEN 'no weights' END, :night = :nights,
       :night = CASE WHEN m % 50 = 1 THEN :nights - 1 ELSE :nights END,
       CASE m % 3 WHEN 0 THEN 'imagenet' ELSE 'cifar10' END, 'Linf', 'Linf', 8 / 255.0,
       CASE m % 2 WHEN 0 THEN 'standard' ELSE 'quick' END, 1000, 'remove', 0,
       '{"attacks": [{"name": "pgd-20", "steps": 20, "restarts": 1}, {"name": "fgsm"}]}', 'cifar10',
       '["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]',
       '["vehicle", "vehicle", "animal", "animal", "animal", "animal", "animal", "animal", "vehicle", "vehicle"]',
       md5(m::text) || md5(CAST(:night AS text)), md5('images') || md5('too'), 1000, 0.8 + 0.1 * random(),
       CASE WHEN NOT failed THEN ROUND(random()::numeric, 3) END, 0.4, 0.6, 1e-7,
       CASE WHEN m % 20 = 0 THEN '["randomized"]' ELSE '[]' END::json, '["a note"]', '[]', 60 + random(), 'cpu', 256,
       '{"auditor": "0.1.0", "python": "3.11", "torch": "2.10", "torchvision": "0.25"}',
       began, began + m * interval '1 s', began + m * interval '2 s', began + m * interval '2 s'
FROM (SELECT m, CASE :nights - :night WHEN 0 THEN m % 50 = 1 WHEN 1 THEN false ELSE random() < 0.01 END AS failed,
             timestamptz '2023-01-01 00:00Z' + :night * interval '1 day' AS began
      FROM generate_series(1, :models) m) made
"""
CLUSTERINGS = """
INSERT INTO clusterings (audit_id, kind, intra, inter, gap, silhouette, rand_index, cophenetic, p_value, effective_rank,
                         leaf_order, reasons, size, matrix)
SELECT id, 'weights', random(), random(), random(), random(), random(), random(), random(), 1 + 8 * random(),
       '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]', '{}', 10, decode(repeat(md5(id::text), 12), 'hex')
FROM audits WHERE state = 'done' AND id > :before AND id <= :upto
"""
PACKED = "n, indices, correct, survived, pictures, labels, predicted, broken_at"
VERDICTS = f"""
INSERT INTO verdicts (audit_id, {PACKED})
SELECT id, made_verdicts.{PACKED} FROM made_verdicts JOIN audits ON model_id = m
WHERE state = 'done' AND id > :before AND id <= :upto
"""
SCANS = """
INSERT INTO scans (id, source, request, state, queue, pending, started_at, finished_at)
SELECT :night, 'timm', '{"protocol": "standard"}', 'done', 'cpu', 0, began, began + interval '6 h'
FROM (SELECT timestamptz '2023-01-01 00:00Z' + :night * interval '1 day' AS began) night
"""
LINKS = "INSERT INTO scan_audits SELECT :night, id, false, false FROM audits WHERE id > :before AND id <= :upto"
SEQUENCES = ("audits", "scans")

COLUMNS = ("robust_accuracy", "clean_accuracy", "gap", "p_value", "effective_rank", "seconds", "started_at")
SORTS = tuple(f"{sign}{column}" for column in COLUMNS for sign in ("-", ""))
REACH = 100
"""Milliseconds, of the median."""
LISTS: dict[str, tuple[dict[str, Any], str, int | None]] = {
    "data set and protocol, by robust accuracy, 20": (
        {"dataset": "cifar10", "protocol": "standard"}, "-robust_accuracy", 20,
    ),
    "the same, done ones": ({"dataset": "cifar10", "protocol": "standard", "status": "done"}, "-robust_accuracy", 20),
    "the same, unflagged": ({"dataset": "cifar10", "protocol": "standard", "flagged": False}, "-robust_accuracy", 20),
    "data set, by gap, 20": ({"dataset": "cifar10"}, "-gap", 20),
    "--match '*-00*', by robust accuracy, 20": ({"match": "*-00*"}, "-robust_accuracy", 20),
    "all there are, by model, 20": ({}, "model", 20),
    "all there are, no limit": ({}, "-robust_accuracy", None),
    "models that fail now": ({"status": "failed"}, "model", None),
    "history, newest first, 20": ({"history": True}, "-started_at", 20),
    "history of a data set, newest first, 20": ({"history": True, "dataset": "cifar10"}, "-started_at", 20),
    "history, oldest first, 20": ({"history": True}, "started_at", 20),
    "history of a model, newest first, 20": ({"history": True, "model": "timm:model-0500"}, "-started_at", 20),
    "history of a model, no limit": ({"history": True, "model": "timm:model-0500"}, "-started_at", None),
    "history of a data set, unflagged, by gap, 20": (
        {"history": True, "dataset": "cifar10", "flagged": False}, "-gap", 20,
    ),
    "history, failed, newest first, 20": ({"history": True, "status": "failed"}, "-started_at", 20),
}  # fmt: skip


LISTS |= {f"history, by {sort}, 20": ({"history": True}, sort, 20) for sort in SORTS}
DEEP = {f"history, by {sort}, 20 from the middle": ({"history": True}, sort, 20) for sort in ("-gap", "-started_at")}
FACETS: dict[str, dict[str, Any]] = {
    "settings with their numbers of results": {},
    "settings of a data set": {"dataset": "cifar10"},
    "settings of matching models": {"match": "*-00*"},
}


def seed(engine: Engine, models: int, nights: int) -> None:
    """As many nights as are missing, one transaction each."""
    numbers = {"models": models, "nights": nights}
    with engine.begin() as connection:
        known = connection.execute(text("SELECT COUNT(*) FROM models")).scalar_one()
        if not known:
            connection.execute(text(MODELS), numbers)
        done = connection.execute(text("SELECT COALESCE(MAX(id), 0) / :models FROM audits"), numbers).scalar_one()
        make_verdicts(connection, models)
    for night in range(done + 1, nights + 1):
        made = numbers | {"night": night, "before": (night - 1) * models, "upto": night * models}
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            connection.execute(text(AUDITS), made)
            for rows in (CLUSTERINGS, VERDICTS, SCANS, LINKS):
                connection.execute(text(rows), made)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP TABLE made_verdicts"))
        for table in SEQUENCES:
            connection.execute(text(f"SELECT setval('{table}_id_seq', (SELECT MAX(id) FROM {table}))"))
        connection.execute(text("VACUUM ANALYZE"))


def make_verdicts(connection: Connection, models: int) -> None:
    """One row of verdicts a model, by the product's own packers; each of its audits gets them."""
    made = f"CREATE TABLE made_verdicts AS SELECT audit_id AS m, {PACKED} FROM verdicts LIMIT 0"
    connection.execute(text("DROP TABLE IF EXISTS made_verdicts"))
    connection.execute(text(made))
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 2**63, SAMPLES).astype(np.uint64)  # the same images in all audits
    rows = [verdicts_row(number, pictures, draw) for number in range(1, models + 1)]
    values = ", ".join(f":{name}" for name in rows[0])
    connection.execute(text(f"INSERT INTO made_verdicts VALUES ({values})"), rows)


def verdicts_row(model: int, pictures: np.ndarray[Any, Any], draw: np.random.Generator) -> dict[str, Any]:
    correct = draw.random(SAMPLES) < 0.85
    survived = correct & (draw.random(SAMPLES) < 0.6)
    return {
        "m": model, "n": SAMPLES, "indices": pack_indices(np.arange(SAMPLES)), "correct": pack_bits(correct),
        "survived": pack_bits(survived), "pictures": pack_pictures(pictures),
        "labels": pack_numbers(np.arange(SAMPLES) % 10),
        "predicted": pack_numbers(draw.integers(0, 10, (~survived).sum())),
        "broken_at": pack_numbers(draw.integers(0, 4, (correct & ~survived).sum())),
    }  # fmt: skip


def timed(run: Callable[[], Any], repeats: int) -> tuple[str, Any]:
    found = run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = run()
        times.append(1000 * (time.perf_counter() - started))
    return f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms", found


def explain(engine: Engine, run: Callable[[], Any]) -> str:
    """The plan of the last statement of ``run``."""
    statements: list[tuple[str, Any]] = []

    def remember(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", remember)
    run()
    event.remove(engine, "before_cursor_execute", remember)
    statement, parameters = statements[-1]
    with engine.connect() as connection:
        lines = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {statement}", parameters).scalars()
        return "\n".join(f"  {line}" for line in lines)


def measure(engine: Engine, url: str, repeats: int) -> None:
    for name, (conditions, sort, limit) in LISTS.items():

        def run(conditions: dict[str, Any] = conditions, sort: str = sort, limit: int | None = limit) -> list[Any]:
            return list_results(engine, Filter(**conditions), sort=sort, limit=limit)

        took, rows = timed(run, repeats)
        print(f"{name}: {took}, {len(rows)} rows", flush=True)
    for name, (conditions, sort, limit) in DEEP.items():
        middle = middle_of(engine, sort)
        took, rows = timed(
            partial(list_results, engine, Filter(**conditions, after=middle), sort=sort, limit=limit), repeats
        )
        print(f"{name}: {took}, {len(rows)} rows", flush=True)
    for name, conditions in FACETS.items():
        took, boards = timed(partial(count_boards, engine, Filter(**conditions)), repeats)
        print(f"{name}: {took}, {len(boards)} settings", flush=True)
    largest = max(boards, key=boards.__getitem__)
    took, rows = timed(partial(load_board, engine, largest, "-robust_accuracy"), repeats)
    print(f"facets of a board: {took}, {len(rows)} rows", flush=True)
    (conditions, sort, limit), *_ = LISTS.values()
    print(explain(engine, lambda: list_results(engine, Filter(**conditions), sort=sort, limit=limit)), flush=True)
    line = "results list --limit 20 --sort -robust_accuracy --dataset cifar10 --format json"
    command, environment = [sys.executable, "-m", "auditor", *line.split()], os.environ | {"AUDITOR_DATABASE_URL": url}
    took, _ = timed(
        lambda: subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL), min(repeats, 5)
    )
    print(f"auditor {line}, as a whole: {took}", flush=True)


def middle_of(engine: Engine, sort: str) -> Cursor:
    """The place of some audit among all of them."""
    with engine.connect() as connection:
        number = connection.execute(text("SELECT MAX(id) / 2 FROM audits WHERE state = 'done'")).scalar_one()
    (row,) = list_results(engine, Filter(id=number, history=True))
    return Cursor(getattr(row, sort.removeprefix("-")), row.id)


def upkeep(engine: Engine, url: str) -> None:
    """What sizes, a backup and pruning take."""
    sizes = text(
        "SELECT relname, pg_size_pretty(pg_table_size(oid)), pg_size_pretty(pg_indexes_size(oid)) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " ORDER BY pg_total_relation_size(oid) DESC LIMIT 4"
    )
    with engine.connect() as connection:
        for name, table, indices in connection.execute(sizes):
            print(f"table {name}: {table}, its indices {indices}")
        print(f"database: {connection.scalar(text('SELECT pg_size_pretty(pg_database_size(current_database()))'))}")
    plain = url.replace("postgresql+psycopg", "postgresql")
    with tempfile.NamedTemporaryFile() as file:
        started = time.perf_counter()
        subprocess.run(["pg_dump", "-Fc", "-f", file.name, plain], check=True)
        seconds = time.perf_counter() - started
        print(f"pg_dump -Fc: {seconds:.0f} s, {Path(file.name).stat().st_size / 1e6:,.0f} MB", flush=True)
    for words, dry_run in (("what db prune --keep-per-model 30 would remove", True), ("db prune", False)):
        started = time.perf_counter()
        print(f"{words}: {prune(engine, 30, dry_run=dry_run)}")
        print(f"  in {time.perf_counter() - started:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="postgresql+psycopg://postgres@127.0.0.1:5432/")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--keep", metavar="NAME")
    options = parser.parse_args()
    name = options.keep or f"auditor_bench_{uuid.uuid4().hex}"
    url = f"{options.server.rstrip('/')}/{name}"
    server = create_engine(f"{options.server.rstrip('/')}/postgres", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        if not connection.execute(text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}).first():
            connection.execute(text(f'CREATE DATABASE "{name}"'))
    try:
        engine = open_database(url)
        started = time.perf_counter()
        seed(engine, options.models, options.nights)
        print(f"{options.models * options.nights:,} audits made in {time.perf_counter() - started:.0f} s", flush=True)
        measure(engine, url, options.repeats)
        if not options.keep:
            upkeep(engine, url)
        engine.dispose()
    finally:
        if not options.keep:
            with server.connect() as connection:
                connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


if __name__ == "__main__":
    main()

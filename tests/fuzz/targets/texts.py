"""Short texts: cron expressions, URLs of databases, brokers, webhooks and servers, radii, names; and their cleaning."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from auditor.client import Client
from auditor.errors import InputError, one_line
from auditor.network.brokers import read_broker
from auditor.network.connections import database_url, safety
from auditor.network.hosts import is_public
from auditor.scheduling import webhook
from auditor.scheduling.due import check_command, check_cron, check_name, next_dues
from auditor.text.eps import parse_eps
from auditor.text.printable import FORMULAS, clean_cell, clean_line, clean_lines, find_unprintable
from auditor.text.redaction import redact
from tests.fuzz.contract import BrokenPromiseError, Target

SECRET = "hunter2hunter2"


def cron(data: bytes, folder: Path) -> None:  # noqa: ARG001
    from datetime import UTC, datetime

    text = data.decode(errors="surrogateescape")
    check_cron(text)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    dues = next_dues(text, start, 3)
    if dues != sorted(dues) or any(due <= start for due in dues):
        raise BrokenPromiseError(f"due times that do not follow each other: {dues}")


def cron_seeds() -> Sequence[bytes]:
    return [b"0 2 * * *", b"*/5 1-3 L * MON#2", b"0 0 29 2 *", b"0 0 1,15 JAN-MAR *", b"0 0 31 2 *"]


def schedule(data: bytes, folder: Path) -> None:  # noqa: ARG001
    words = data.decode(errors="surrogateescape").split("\0")
    check_name(words[0])
    check_command(words[1:])


def schedule_seeds() -> Sequence[bytes]:
    return [b"nightly\0scan\0demo", b"n\0scan\0local\0/srv/zoo\0--protocol=quick", b"n\0boost", b"n\0scan\0--queue"]


def url(data: bytes, folder: Path) -> None:  # noqa: ARG001
    """The first letter says whose URL it is."""
    text = data[1:].decode(errors="surrogateescape")
    kind = data[:1]
    if kind == b"d":
        safety(database_url(text))
    elif kind == b"b":
        broker = read_broker(text)
        if find_unprintable(broker.shown):
            raise BrokenPromiseError(f"a URL that cannot be shown: {broker.shown!r:.200}")
        if SECRET in broker.shown:
            raise BrokenPromiseError("the URL that is shown has the password")
    elif kind == b"w":
        webhook._parse(text)
    elif kind == b"c":
        Client(text, "token", insecure=True)
    elif kind == b"r" and SECRET in redact(f"connect to {text}: failed"):
        raise BrokenPromiseError("a password is left in a text")
    elif kind == b"h":
        try:
            is_public(text)
        except ValueError:
            return


def url_seeds() -> Sequence[bytes]:
    return [
        b"dpostgresql://user:hunter2hunter2@db.example:5432/auditor?sslmode=require", b"dsqlite:////tmp/a.db",
        b"dpostgres://db/a?host=/run/postgresql", b"bredis://:hunter2hunter2@h:6379/0",
        b"bamqps://u:hunter2hunter2@h:5671/v?ssl_cert_reqs=none&heartbeat=30", b"bredis+socket:///run/r.sock?virtual_host=1",
        b"bredis://a:1/0;redis://b:1/0", b"whttps://hooks.example.com:443/a?b=c", b"whttp://[::1]/", b"chttps://a.example",
        b"chttp://127.0.0.1:8000/", b"h64:ff9b::7f00:1", b"h2002:7f00:1::", b"h1.2.3.4", b"hfe80::1%eth0",
    ]  # fmt: skip


def radius(data: bytes, folder: Path) -> None:  # noqa: ARG001
    try:
        eps = parse_eps(data.decode(errors="surrogateescape"))
    except ValueError as error:
        raise InputError(str(error)) from error
    if not 0 < eps < 1000:
        raise BrokenPromiseError(f"a radius of {eps}")


def radius_seeds() -> Sequence[bytes]:
    return [b"8/255", b"0.03", b"1e-3", b"1/3", "８/２５５".encode()]


def cleaned(data: bytes, folder: Path) -> None:  # noqa: ARG001
    """Whatever a text is, what is printed of it is one line, no formula, and no new columns."""
    text = data.decode(errors="surrogateescape")
    for line in (clean_line(text), one_line(text), *clean_lines(text).split("\n"), clean_cell(text)):
        if find_unprintable(line):
            raise BrokenPromiseError(f"an unprintable line: {line!r:.200}")
    if len(one_line(text)) > 2 + 500 * 6:
        raise BrokenPromiseError(f"a line of {len(one_line(text))} characters")
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([clean_cell(text), "b"])
    (row,) = csv.reader(io.StringIO(stream.getvalue()))
    if len(row) != 2 or row[0].strip().startswith(FORMULAS):
        raise BrokenPromiseError(f"a cell that is a formula: {row!r:.200}")
    json.loads(json.dumps(one_line(text)))


def cleaned_seeds() -> Sequence[bytes]:
    return [
        b"plain",
        b"=1+1",
        b" \t@SUM(A1)",
        "\u202ea\u200b".encode(),
        b"a\r\nb\x1b[2J",
        b'a,b"c',
        b"redis://u:hunter2hunter2@h/0",
    ]


TARGETS = (
    Target("cron", cron, cron_seeds, ("cronsim",), length=128),
    Target("schedule", schedule, schedule_seeds, length=256),
    Target("url", url, url_seeds, ("httpx._urlparse", "httpx._urls"), length=512),
    Target("radius", radius, radius_seeds, ("fractions",), length=64),
    Target("cleaned-text", cleaned, cleaned_seeds, length=1024),
)

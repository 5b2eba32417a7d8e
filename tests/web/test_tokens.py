"""Tokens: told once, stored as a hash, let in whom they should and nobody else."""

import hashlib
import json
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.ending import now
from auditor.db.session import open_database
from auditor.db.tokens import add_token, check_token
from tests.factories.command import run
from tests.web.serving import client, token


def test_a_token_is_told_once_and_only_its_hash_is_kept() -> None:
    told = run("tokens", "add", "ci", "--scope", "scan").stdout.strip()
    prefix, number, secret = told.split("_", 2)
    assert (prefix, number, len(secret)) == ("auditor", "1", 43)
    engine = open_database(settings().database_url)
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT * FROM tokens")).mappings().one()
    assert stored["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in str(dict(stored))
    assert secret not in run("tokens", "list", "--format", "json").stdout
    assert check_token(engine, told).scope == "scan"
    (row,) = json.loads(run("tokens", "list", "--format", "json").stdout)
    assert (row["name"], row["state"]) == ("ci", "good")
    assert row["used_at"]


def test_revoked_expired_unknown_and_damaged_tokens_let_nobody_in() -> None:
    engine = open_database(settings().database_url)
    good, late = add_token(engine, "good", "read"), add_token(engine, "late", "read", days=1)
    assert check_token(engine, late)
    with Session(engine) as session, session.begin():
        session.execute(update(tables.Token).where(tables.Token.name == "late").values(expires_at=now() - timedelta(1)))
    assert check_token(engine, late) is None
    for wrong in ("", "x", good[:-1], good + "x", good.replace("_1_", "_2_"), good.replace("_1_", "_99_"), " " + good):
        assert check_token(engine, wrong) is None, wrong
    assert run("tokens", "revoke", "good").exit_code == 0
    assert check_token(engine, good) is None
    again = run("tokens", "revoke", "good")
    assert (again.exit_code, len(again.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "-x"])
def test_odd_names_are_refused(name: str) -> None:
    refused = run("tokens", "add", "--scope", "read", "--", name)
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)


def test_a_name_is_taken_once() -> None:
    assert run("tokens", "add", "ci", "--scope", "read").exit_code == 0
    refused = run("tokens", "add", "ci", "--scope", "admin")
    assert refused.exit_code == 2
    assert "the token name 'ci' is taken" in refused.stderr


@pytest.mark.parametrize(
    ("scope", "read", "scan"), [("read", 200, 403), ("scan", 200, 404), ("boost", 200, 403), ("admin", 200, 404)]
)
def test_scopes_on_a_closed_server(scope: str, read: int, scan: int) -> None:
    closed, header = client(open_reading=False), token(scope)
    assert closed.get("/api/v1/results").status_code == 401
    assert closed.get("/api/v1/results", headers=header).status_code == read
    answer = closed.post("/api/v1/scans/9/cancel", headers=header)
    assert answer.status_code == scan
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_bad_token_is_refused_where_none_is_needed() -> None:
    answer = client().get("/api/v1/results", headers={"Authorization": "Bearer auditor_1_" + "x" * 43})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_signing_in_keeps_the_token_where_scripts_do_not_reach() -> None:
    header = token("read")
    secret = header["Authorization"].removeprefix("Bearer ")
    closed = client(open_reading=False)
    closed.headers["Origin"] = "http://testserver"
    assert closed.get("/").headers["location"] == "/sign-in?next=/"
    assert closed.post("/sign-in", data={"token": "auditor_1_no"}).status_code == 401
    answer = closed.post("/sign-in", data={"token": secret})
    assert answer.status_code == 303
    assert {"httponly", "samesite=strict"} <= set(answer.headers["set-cookie"].lower().split("; "))
    assert closed.get("/").status_code == 200
    assert "Signed in as read (read)" in closed.get("/sign-in").text
    closed.post("/sign-out")
    assert closed.get("/").status_code == 303


def test_a_cookie_does_not_write_over_the_api_nor_a_form_from_elsewhere() -> None:
    secret = token("admin")["Authorization"].removeprefix("Bearer ")
    server = client()
    server.cookies.set("auditor_token", secret)
    assert server.post("/api/v1/scans", json={"source": "demo"}).status_code == 401
    for path, form in (
        ("/scans", {"source": "demo", "protocol": "screen"}), ("/scans/1/cancel", {}),
        ("/boosts", {"model": "demo:standard"}), ("/boosts/1/cancel", {}),
    ):  # fmt: skip
        assert server.post(path, data=form).status_code == 403
        assert server.post(path, data=form, headers={"Origin": "https://elsewhere.example"}).status_code == 403

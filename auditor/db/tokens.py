"""Tokens of the HTTP API: add, list, revoke and check.

A token is ``auditor_ID_SECRET`` with a secret of 256 random bits. Of these a plain SHA-256 is stored: nobody guesses
such a secret, so a slow hash would only slow each request. The row is found by its id, and the hashes are compared
in constant time.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import Engine, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import iso
from auditor.db.ending import now
from auditor.errors import ConflictError, NotFoundError, UsageError
from auditor.records.tokens import TokenRow

DAYS = 36_500
SCOPES = ("read", "scan", "boost", "admin")
_ALLOWS = {"read": {"read"}, "scan": {"read", "scan"}, "boost": {"read", "boost"}, "admin": set(SCOPES)}
_FORM = re.compile(r"auditor_([1-9][0-9]{0,8})_([A-Za-z0-9_-]{43})")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Bearer:
    """The owner of a valid token."""

    id: int
    name: str
    scope: str

    def may(self, scope: str) -> bool:
        """Whether its scope holds this one: scan and boost hold read, admin holds all."""
        return scope in _ALLOWS[self.scope]


def add_token(engine: Engine, name: str, scope: str, days: float | None = None) -> str:
    """Create a token. This return value is the only place where its secret appears.

    Raises:
        ConflictError: the name is taken.
        UsageError: the name, the scope or the number of days is not valid.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"expected a name of up to 64 letters, digits, dots, dashes and underscores, got {name!r}")
    if scope not in SCOPES:
        raise UsageError(f"no scope {scope!r}; choose from {', '.join(SCOPES)}")
    if days is not None and not 0 < days <= DAYS:  # not of NaN either
        raise UsageError(f"expected more than 0 and at most {DAYS} days, got {days:g}")
    secret = secrets.token_urlsafe(32)
    expires = None if days is None else now() + timedelta(days=days)
    row = tables.Token(
        name=name, scope=scope, secret_sha256=_digest(secret), created_at=now(), expires_at=expires
    )  # fmt: skip
    try:
        with Session(engine) as session, session.begin():
            session.add(row)
            session.flush()
            number = row.id
    except IntegrityError as error:
        raise ConflictError(f"the token name {name!r} is taken; choose another name") from error
    return f"auditor_{number}_{secret}"


def list_tokens(engine: Engine) -> list[TokenRow]:
    """All tokens, also revoked and expired ones, without their secrets."""
    with Session(engine) as session:
        return [_row(one) for one in session.scalars(select(tables.Token).order_by(tables.Token.id))]


def revoke_token(engine: Engine, name: str) -> None:
    """Make a token invalid.

    Raises:
        NotFoundError: no token of this name is valid.
    """
    token = tables.Token
    revoked = update(token).where(token.name == name, token.revoked_at.is_(None)).values(revoked_at=now())
    with Session(engine) as session, session.begin():
        if session.scalar(revoked.returning(token.id)) is None:
            raise NotFoundError(f"there is no valid token {name!r}; see `auditor tokens list`")


def check_token(engine: Engine, text: str) -> Bearer | None:
    """The owner of a token; None if the token is unknown, revoked or expired."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    at = now()
    with Session(engine) as session, session.begin():
        row = session.get(tables.Token, int(found[1]))
        known = row.secret_sha256 if row else _digest("")
        good = hmac.compare_digest(_digest(found[2]), known)
        if row is None or not good or row.revoked_at or (row.expires_at and row.expires_at <= at):
            return None
        bearer = Bearer(row.id, row.name, row.scope)
        if row.used_at is None or row.used_at < at - timedelta(minutes=1):
            token = tables.Token
            stale = or_(token.used_at.is_(None), token.used_at < at - timedelta(minutes=1))
            session.execute(update(token).where(token.id == row.id, stale).values(used_at=at))
        return bearer


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _row(token: tables.Token) -> TokenRow:
    state: Literal["good", "revoked", "expired"] = "good"
    if token.revoked_at:
        state = "revoked"
    elif token.expires_at and token.expires_at <= now():
        state = "expired"
    return TokenRow(
        id=token.id,
        name=token.name,
        scope=token.scope,
        state=state,
        created_at=iso(token.created_at),
        expires_at=iso(token.expires_at),
        revoked_at=iso(token.revoked_at),
        used_at=iso(token.used_at),
    )

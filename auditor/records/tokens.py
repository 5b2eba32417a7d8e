"""Tokens of the HTTP API as lists show them."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """A token without its secret. The fields are the keys of the JSON output; times are ISO 8601, to the second."""

    id: int
    name: str
    scope: str
    state: Literal["good", "revoked", "expired"]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None

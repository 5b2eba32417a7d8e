"""The table of the HTTP API's tokens."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from auditor.db.base import Base


class Token(Base):
    """What lets a program in: the hash of a secret that is stored nowhere. Scope: read, scan, boost, admin.

    ``used_at``: when it let somebody in last, to the minute.
    """

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    secret_sha256: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]

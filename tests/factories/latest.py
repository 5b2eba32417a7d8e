"""Series of audits, and a check that the latest audit of each is marked."""

from dataclasses import replace

from hypothesis import strategies as st
from sqlalchemy import Engine, text

from auditor.db.store import Store
from tests.factories.records import REQUEST, entry

MARKED = "SELECT id FROM audits WHERE {flag} ORDER BY id"


LOOKED_FOR = """
SELECT id FROM (
    SELECT id, ROW_NUMBER() OVER (
        PARTITION BY model_id, dataset, protocol, norm, eps, linearization, sketch, samples
        ORDER BY confirmed_at DESC, id DESC
    ) AS age
    FROM audits WHERE state IN ({states})
) ranked WHERE age = 1 ORDER BY id
"""


def check(engine: Engine) -> None:
    for flag, states in (("latest", "'done', 'failed'"), ("latest_done", "'done'")):
        with engine.connect() as connection:
            marked = connection.scalars(text(MARKED.format(flag=flag))).all()
            assert marked == connection.scalars(text(LOOKED_FOR.format(states=states))).all()


def begin(store: Store, name: str, samples: int | None, sketch: int | None, eps: float) -> tuple[int, int, int]:
    """A claimed audit: its scan, its id and its attempt."""
    request = REQUEST | {"samples": samples, "sketch": sketch}
    scan_id, (job,) = store.create_scan("demo", request, [replace(entry(name), eps=eps)])
    attempt = store.claim(job.audit_id)
    assert attempt
    return scan_id, job.audit_id, attempt


SERIES = st.tuples(
    st.sampled_from(("a", "b")), st.sampled_from((None, 3)), st.sampled_from((None, 64)), st.sampled_from((0.1, 0.2))
)

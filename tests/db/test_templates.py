"""Stored pictures of templates: nearly what was measured, bounded, pruned, and none in older rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.codec import pack_templates, unpack_templates
from auditor.db.prune import prune
from auditor.db.results import load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.templates import load_templates
from tests.factories.pictures import templates
from tests.factories.records import done_audit


@given(arrays(np.float64, (3, 2, 4, 5), elements=st.floats(-1e200, 1e200, allow_subnormal=False)))
def test_a_stored_picture_is_within_half_a_step(values: np.ndarray) -> None:
    found = unpack_templates(*pack_templates(values), values.shape)
    step = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
    assert (np.abs(found - values) <= step * 0.5000001).all()


def test_what_goes_in_comes_out() -> None:
    engine = open_database(settings().database_url)
    parts = (templates(3, 3, 8, "local", seed=1), templates(3, 3, 8))
    audit_id = done_audit(Store(engine), templates=parts, adversarials="/kept/a.npz")
    linearized, local = load_templates(engine, audit_id)
    assert (linearized.kind, linearized.probes, linearized.size) == ("linearized", None, (8, 8))
    assert (local.kind, local.probes) == ("local", 64)
    assert np.abs(local.values - parts[0].values).max() <= np.abs(parts[0].values).max() / 254 * 1.001
    assert load_detail(engine, audit_id).adversarials == "/kept/a.npz"


def test_an_audit_without_pictures_has_none() -> None:
    engine = open_database(settings().database_url)
    audit_id = done_audit(Store(engine))
    assert load_templates(engine, audit_id) == ()
    assert load_detail(engine, audit_id).adversarials is None


def test_pruning_takes_the_pictures_of_older_audits() -> None:
    engine = open_database(settings().database_url)
    old, new = (done_audit(Store(engine), templates=(templates(3),)) for _ in range(2))
    size = _bytes(engine, old)
    without = prune(engine, 1, dry_run=True).bytes - size
    assert without > 0
    assert prune(engine, 1).bytes == without + size
    assert load_templates(engine, old) == ()
    assert len(load_templates(engine, new)) == 1


def _bytes(engine: Engine, audit_id: int) -> int:
    row = tables.Templates
    query = select(func.sum(func.length(row.pixels) + func.length(row.scales))).where(row.audit_id == audit_id)
    with Session(engine) as session:
        return int(session.scalar(query) or 0)

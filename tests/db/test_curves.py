"""Stored curves: what goes in comes out, infinite sizes included, and they end with their audit."""

import numpy as np
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.curves import load_curve
from auditor.db.results import load_detail
from auditor.db.store import Store
from tests.factories.curves import curve_of
from tests.factories.records import done_audit


def test_what_goes_in_comes_out_and_ends_with_its_audit(shared: Engine) -> None:
    curve = curve_of([0.1, np.inf, 0.0], norm="L1")
    audit_id = done_audit(Store(shared), "curved", curve=curve)
    for found in (load_curve(shared, audit_id), load_detail(shared, audit_id).curve):
        assert found is not None
        np.testing.assert_array_equal(found.sizes, curve.sizes)
        np.testing.assert_array_equal(found.found_by, curve.found_by)
        assert (found.sizes.dtype, found.norm, found.largest) == (np.float32, "L1", 0.4)
        assert (found.attacks, found.seconds) == (curve.attacks, curve.seconds)
    with Session(shared) as session, session.begin():
        session.delete(session.get_one(tables.Audit, audit_id))
    with Session(shared) as session:
        rows = session.scalar(select(func.count()).select_from(tables.Curve).where(tables.Curve.audit_id == audit_id))
        assert rows == 0


def test_other_audits_have_none(shared: Engine) -> None:
    audit_id = done_audit(Store(shared), "plain")
    assert load_curve(shared, audit_id) is None
    assert load_detail(shared, audit_id).curve is None

"""Certificates as rows and back."""

from auditor.db import models as tables
from auditor.db.codec import nan_to_null, null_to_nan, pack_bits, pack_floats, unpack_bits, unpack_floats
from auditor.records.certificates import Certificate


def certificate_row(audit_id: int, certificate: Certificate) -> tables.Certificate:
    """The row of an audit's certificate."""
    bounds = certificate.method == "bounds"
    radii = certificate.radii
    return tables.Certificate(
        audit_id=audit_id,
        method=certificate.method,
        parameters=certificate.parameters,
        n=len(certificate.certified),
        certified=pack_bits(certificate.certified),
        radii=None if radii is None else pack_floats(radii, "<f8"),
        certified_accuracy=certificate.accuracy if bounds else None,
        smoothed_certified_accuracy=None if bounds else certificate.accuracy,
        low=certificate.low,
        high=certificate.high,
        smoothed_clean_accuracy=nan_to_null(certificate.clean_accuracy),
        abstained=nan_to_null(certificate.abstained),
    )


def certificate_record(row: tables.Certificate) -> Certificate:
    """The certificate of a row."""
    accuracy = row.certified_accuracy if row.method == "bounds" else row.smoothed_certified_accuracy
    return Certificate(
        method="bounds" if row.method == "bounds" else "smoothing",
        parameters=row.parameters,
        certified=unpack_bits(row.certified, row.n),
        radii=None if row.radii is None else unpack_floats(row.radii, "<f8"),
        accuracy=null_to_nan(accuracy),
        low=row.low,
        high=row.high,
        clean_accuracy=null_to_nan(row.smoothed_clean_accuracy),
        abstained=null_to_nan(row.abstained),
    )

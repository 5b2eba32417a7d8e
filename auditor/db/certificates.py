"""Certificates as rows and back."""

import zlib

from auditor.db import models as tables
from auditor.db.codec import nan_to_null, null_to_nan, pack_bits, unpack_bits
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
        radii=None if radii is None else zlib.compress(radii.astype("<f8").tobytes()),
        certified_accuracy=certificate.accuracy if bounds else None,
        smoothed_certified_accuracy=None if bounds else certificate.accuracy,
        low=certificate.low,
        high=certificate.high,
        smoothed_clean_accuracy=nan_to_null(certificate.clean_accuracy),
        abstained=nan_to_null(certificate.abstained),
    )


def certificate_record(row: tables.Certificate) -> Certificate:
    """The certificate of a row."""
    import numpy as np

    accuracy = row.certified_accuracy if row.method == "bounds" else row.smoothed_certified_accuracy
    return Certificate(
        method="bounds" if row.method == "bounds" else "smoothing",
        parameters=row.parameters,
        certified=unpack_bits(row.certified, row.n),
        radii=None if row.radii is None else np.frombuffer(zlib.decompress(row.radii), "<f8").astype(np.float64),
        accuracy=null_to_nan(accuracy),
        low=row.low,
        high=row.high,
        clean_accuracy=null_to_nan(row.smoothed_clean_accuracy),
        abstained=null_to_nan(row.abstained),
    )

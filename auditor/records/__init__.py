"""The data that packages exchange: frozen records of plain values and NumPy arrays."""

from auditor.records.audits import (
    METHOD_VERSION,
    STOPPED_EARLY,
    STOPPED_SAMPLES,
    AttackScore,
    AuditRecord,
    Clustering,
    ClusteringScores,
    Matrix,
    Verdicts,
)
from auditor.records.entries import CustomData, Transform, ZooEntry
from auditor.records.jobs import LOCAL_QUEUE, JobContext, Progress
from auditor.records.published import Published
from auditor.records.requests import AuditRequest, Estimate, Measurement
from auditor.records.screening import Screening

__all__ = [
    "LOCAL_QUEUE",
    "METHOD_VERSION",
    "STOPPED_EARLY",
    "STOPPED_SAMPLES",
    "AttackScore",
    "AuditRecord",
    "AuditRequest",
    "Clustering",
    "ClusteringScores",
    "CustomData",
    "Estimate",
    "JobContext",
    "Matrix",
    "Measurement",
    "Progress",
    "Published",
    "Screening",
    "Transform",
    "Verdicts",
    "ZooEntry",
]

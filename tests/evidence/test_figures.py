"""The figures of a record follow from its verdicts: beside scikit-learn and SciPy, and refused if impossible."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix

from auditor.db.results import load_detail
from auditor.errors import EvidenceError
from auditor.evidence.collect import collect_audit
from auditor.evidence.export import write_record
from auditor.evidence.figures import compute_figures, find_differences
from auditor.records.evidence import EvidenceRecord, record_from
from auditor.results.curves import curve_values
from tests.factories.evidence import CLASSES, N, engine, random_verdicts, store_attacked, store_corrupted


def load(audit_id: int) -> EvidenceRecord:
    (record,) = collect_audit(engine(), audit_id).records
    return record


def test_accuracies_are_those_of_other_libraries() -> None:
    record, verdicts = load(store_attacked()), random_verdicts()
    figures = compute_figures(record)
    assert verdicts.labels is not None
    labels, clean = [one.label for one in record.samples], [one.clean_class for one in record.samples]
    assert figures["clean_accuracy"]["value"] == pytest.approx(accuracy_score(labels, clean))
    after = verdicts.predicted
    assert figures["confusion"] == confusion_matrix(verdicts.labels, after, labels=[0, 1, 2]).tolist()
    assert figures["robust_accuracy"]["value"] == pytest.approx(accuracy_score(verdicts.labels, after))
    found = binomtest(int(verdicts.survived.sum()), N).proportion_ci(0.95, method="wilson")
    assert figures["robust_accuracy"]["low"] == pytest.approx(found.low)
    assert figures["robust_accuracy"]["high"] == pytest.approx(found.high)
    family = np.array([0, 0, 1])
    expected = accuracy_score(family[verdicts.labels], family[after])
    assert figures["superclass_robust_accuracy"]["value"] == pytest.approx(expected)
    for number, row in enumerate(figures["classes"]):
        mine = verdicts.labels == number
        assert (row["name"], row["n"], row["survived"]) == (
            CLASSES[number],
            mine.sum(),
            (mine & verdicts.survived).sum(),
        )


def test_attacks_are_counted_by_what_they_broke_first() -> None:
    verdicts = random_verdicts()
    first, second = compute_figures(load(store_attacked()))["attacks"]
    assert verdicts.broken_at is not None
    assert (first["broken"], second["broken"]) == tuple((verdicts.broken_at == k).sum() for k in (0, 1))
    assert first["robust_accuracy"] == pytest.approx((verdicts.correct & (verdicts.broken_at != 0)).mean())
    assert second["robust_accuracy"] == pytest.approx(verdicts.survived.mean())


def test_curves_and_certificates_are_those_of_the_result() -> None:
    audit_id = store_attacked(curve=True, certify="bounds")
    detail, figures = load_detail(engine(), audit_id), compute_figures(load(audit_id))
    assert detail.curve is not None
    assert detail.certificate is not None
    stored = curve_values(detail.curve, detail.row.eps)
    assert not list(find_differences({name: stored[name] for name in figures["curve"]}, figures["curve"]))
    assert figures["certified_accuracy"]["value"] == pytest.approx(detail.certificate.accuracy)
    assert "smoothed_certified_accuracy" not in figures


def test_smoothing_is_not_called_a_certificate_of_the_model() -> None:
    figures = compute_figures(load(store_attacked(certify="smoothing")))
    assert "certified_accuracy" not in figures
    correct = random_verdicts().correct
    assert figures["smoothed_clean_accuracy"] == pytest.approx(correct.mean())


def test_under_corruptions_the_robust_accuracy_is_a_mean() -> None:
    figures = compute_figures(load(store_corrupted()))
    right = np.random.default_rng(2).random((75, N)) < 0.9
    assert figures["robust_accuracy"]["value"] == pytest.approx(right.mean())
    assert figures["corruptions"][0]["accuracy"] == pytest.approx(right[:5].mean())
    assert figures["corruptions"][-1]["severities"][4] == pytest.approx(right[74].mean())
    assert "attacks" not in figures


def test_audits_without_classes_keep_their_accuracies() -> None:
    plain = replace(random_verdicts(), labels=None, predicted=None, broken_at=None, pictures=None)
    record = load(store_attacked(verdicts=plain))
    figures = compute_figures(record)
    assert figures["attacks"] is None
    assert "classes" not in figures
    assert figures["robust_accuracy"]["count"] == plain.survived.sum()


def test_a_record_is_read_as_it_was_written() -> None:
    for audit_id in (store_attacked(curve=True, certify="smoothing"), store_corrupted()):
        record = load(audit_id)
        assert record_from("record.json", write_record(record)) == record


@pytest.mark.parametrize(
    ("where", "changes", "said"),
    [
        ("survivor", {"survived": False}, "`survived` contradicts what broke it"),
        ("survivor", {"correct": False, "survived": False}, "`correct` contradicts its classes"),
        ("survivor", {"label": 3}, "a class is not one of 3"),
        ("survivor", {"broken_by": 0, "survived": False}, "without a class of the adversarial image"),
        ("survivor", {"size": 0.0}, "its size on the curve contradicts `correct`"),
        ("survivor", {"certified": None}, "it has no verdict of the certificate"),
        ("broken", {"broken_by": 7}, "it was broken by attack 7 of 2"),
        ("broken", {"survived": True, "correct": False, "clean_class": 9}, "a class is not one of 3"),
        ("wrong", {"survived": True}, "it survived, but its clean image is misclassified"),
    ],
)
def test_impossible_verdicts_are_refused(where: str, changes: dict[str, Any], said: str) -> None:
    record = load(store_attacked(curve=True, certify="bounds"))
    samples = list(record.samples)
    kinds = {"survivor": lambda one: one.survived, "broken": lambda one: one.broken_by is not None,
             "wrong": lambda one: not one.correct}  # fmt: skip
    number = next(k for k, sample in enumerate(samples) if kinds[where](sample))
    samples[number] = replace(samples[number], **changes)
    with pytest.raises(EvidenceError, match=f"sample {samples[number].index}: .*") as refused:
        compute_figures(replace(record, samples=tuple(samples)))
    assert said in str(refused.value)


def test_a_sample_counts_once() -> None:
    record = load(store_attacked())
    twice = (*record.samples, record.samples[0])
    with pytest.raises(EvidenceError, match="two samples have the same index"):
        compute_figures(replace(record, samples=twice))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"format": "auditor evidence record 2"}', b"\xff\xfe" * 40])
def test_what_is_no_record_is_one_line(content: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"^record\.json: no record of this version") as refused:
        record_from("record.json", content)
    assert "\n" not in str(refused.value)
    assert not re.search("validation error|Input should|input should|Invalid JSON", str(refused.value))

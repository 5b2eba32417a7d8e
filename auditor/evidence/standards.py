"""Which requirements of standards and laws a folder of evidence covers, partly covers, and does not cover.

Requirements are paraphrased, because the texts of ISO are not free. The same table is in docs/evidence.md.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from auditor.records.evidence import EvidenceRecord

Status = Literal["covered", "partly covered", "not covered"]
COVERED: Status = "covered"
PARTLY: Status = "partly covered"
NOT: Status = "not covered"

ISO_1 = "ISO/IEC TR 24029-1:2021"
ISO_2 = "ISO/IEC 24029-2:2023"
AI_ACT = "EU AI Act (Regulation 2024/1689)"
NIST = "NIST AI RMF 1.0"


@dataclass(frozen=True)
class Requirement:
    """One requirement in own words: what covers it, and what is missing."""

    standard: str
    clause: str
    asks: str
    status: Status
    covered_by: str = ""
    missing: str = ""


def write_standards(records: Sequence[EvidenceRecord]) -> bytes:
    """The mapping of these records as JSON."""
    values = [asdict(one) for one in find_requirements(records)]
    note = "A mapping by auditor's authors. It is no legal advice, and no certification."
    return f"{json.dumps({'note': note, 'requirements': values}, indent=1, ensure_ascii=False)}\n".encode()


def find_requirements(records: Sequence[EvidenceRecord]) -> list[Requirement]:
    """All requirements, with the status that these records give them."""
    bounds = any(record.certificate is not None and record.certificate.method == "bounds" for record in records)
    corrupted = any(record.corruptions for record in records)
    attacked = any(record.attacks for record in records)
    return [*_iso(bounds, corrupted, attacked), *_ai_act(corrupted, attacked), *_nist(attacked or corrupted)]


def _iso(bounds: bool, corrupted: bool, attacked: bool) -> list[Requirement]:
    proven = "certified accuracy: a proof, image by image, that no class changes in the norm ball"
    tried = " and ".join(
        text
        for text, measured in (
            ("attacks on each test image", attacked),
            ("common corruptions at five severities", corrupted),
        )
        if measured
    )
    return [
        Requirement(
            ISO_1, "statistical methods", "Performance on test data as a statistic, with its uncertainty.", COVERED,
            "clean and robust accuracy with 95 % intervals, in total and by class",
        ),
        Requirement(
            ISO_1, "empirical methods", "Tests by experiment, such as benchmarks and field trials.", PARTLY,
            tried, "field trials, and judgement by experts of the domain",
        ),
        Requirement(
            ISO_1, "formal methods", "Proofs of properties of the network.", PARTLY if bounds else NOT,
            proven if bounds else "", "properties other than the stability of a class in a norm ball"
            if bounds else "no bounds were computed: `auditor scan … --certify bounds`",
        ),
        Requirement(
            ISO_1, "workflow", "Goals of robustness, a plan of tests, their conduct, and a decision.", PARTLY,
            "the plan (protocol, norm, ε, samples, seed, versions) and the results",
            "the goals and the decision, which are the user's (`--fail-under`)",
        ),
        Requirement(
            ISO_2, "stability", "Formal proof that the output does not change on a domain.", PARTLY if bounds else NOT,
            proven if bounds else "", "domains other than norm balls around test images"
            if bounds else "no bounds were computed: `auditor scan … --certify bounds`",
        ),
        Requirement(
            ISO_2, "sensitivity, relevance, reachability", "Formal analysis of these properties.", NOT,
            missing="auditor does not analyse these properties",
        ),
    ]  # fmt: skip


def _ai_act(corrupted: bool, attacked: bool) -> list[Requirement]:
    return [
        Requirement(
            AI_ACT, "Article 15(1)", "An appropriate and consistent level of accuracy, robustness and cybersecurity "
            "during the whole life of the system.", PARTLY, "the level of accuracy and robustness at one time",
            "what is appropriate for the purpose; the other times (scheduled audits show regressions); cybersecurity",
        ),
        Requirement(
            AI_ACT, "Article 15(2)", "Benchmarks and methods of measurement, encouraged by the Commission.", NOT,
            missing="it is addressed to the Commission; auditor's protocols follow the research literature",
        ),
        Requirement(
            AI_ACT, "Article 15(3)", "Levels of accuracy and their metrics, declared in the instructions for use.",
            PARTLY, "the figures with their metrics and intervals, in files that can be cited",
            "the instructions for use, and metrics of the purpose beyond accuracy",
        ),
        Requirement(
            AI_ACT, "Article 15(4)", "Resilience against errors, faults and inconsistencies of the system or its "
            "surroundings; redundancy; no harmful feedback loops in systems that go on learning.",
            PARTLY if corrupted else NOT, "accuracy under common corruptions of the images" if corrupted else "",
            "faults of the system around the model, redundancy, feedback loops"
            + ("" if corrupted else "; corruptions: `auditor scan … --threat-model corruptions`"),
        ),
        Requirement(
            AI_ACT, "Article 15(5), adversarial examples and model evasion", "Measures to prevent, detect and control "
            "inputs that are made to cause mistakes.", PARTLY if attacked else NOT,
            "the measured success of attacks with full knowledge of the model, in the norm ball that is named"
            if attacked else "",
            "attacks outside of this norm ball, physical attacks, detection, and what is done about findings",
        ),
        Requirement(
            AI_ACT, "Article 15(5), data poisoning, model poisoning, confidentiality", "Measures against them.",
            NOT, missing="auditor does not measure them; the digests identify the weights and the images",
        ),
    ]  # fmt: skip


def _nist(measured: bool) -> list[Requirement]:
    security = "adversarial and corruption robustness, measured" if measured else ""
    return [
        Requirement(
            NIST, "MEASURE 1.1", "Metrics for the most significant risks are selected; what is not measured is "
            "documented.", PARTLY, "the metrics of one risk, and this list of what is not covered",
            "the choice of the risks that matter",
        ),
        Requirement(
            NIST, "MEASURE 1.2", "Metrics and controls are reviewed regularly.", NOT,
            missing="an organizational process",
        ),
        Requirement(
            NIST, "MEASURE 1.3", "People who did not develop the system take part in the assessment.", PARTLY,
            "others can verify the evidence without the database, the model or auditor", "their participation",
        ),
        Requirement(
            NIST, "MEASURE 2.1", "Test sets, metrics and tools are documented.", COVERED,
            "digests of the images, protocol, parameters of every attack, seed and versions",
        ),
        Requirement(
            NIST, "MEASURE 2.2", "Evaluations with people represent the population and protect them.", NOT,
            missing="no people take part",
        ),
        Requirement(
            NIST, "MEASURE 2.3", "Performance is demonstrated under conditions like those of the deployment.", PARTLY,
            "performance on the test set that is named", "how far the test set resembles the deployment",
        ),
        Requirement(
            NIST, "MEASURE 2.4", "The system in production is monitored.", NOT,
            missing="scheduled audits watch the model, not its production",
        ),
        Requirement(
            NIST, "MEASURE 2.5", "The system is shown to be valid and reliable, with the limits of generalization.",
            PARTLY, "accuracy with intervals, and the limits in the model card", "validity for the purpose",
        ),
        Requirement(
            NIST, "MEASURE 2.6", "Safety risks are evaluated regularly.", NOT,
            missing="risks of the use, which a classifier's accuracy does not show",
        ),
        Requirement(
            NIST, "MEASURE 2.7", "Security and resilience are evaluated and documented.", PARTLY, security,
            "poisoning, extraction of the model or its data, and the security of the system around the model",
        ),
        Requirement(
            NIST, "MEASURE 2.8 to 2.12", "Transparency, explanation, privacy, fairness, environmental impact.", NOT,
            missing="the accuracy by class is no measure of fairness towards people",
        ),
        Requirement(
            NIST, "MEASURE 2.13", "The effectiveness of the metrics and the process is evaluated.", PARTLY,
            "flags mark results whose attacks did not work as they should", "an evaluation of the whole process",
        ),
        Requirement(
            NIST, "MEASURE 3 and 4", "Risks are tracked over time, and feedback about the measurement is used.", NOT,
            missing="an organizational process; `auditor scans diff` shows what changed between two scans",
        ),
    ]  # fmt: skip

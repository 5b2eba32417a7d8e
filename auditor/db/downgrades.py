"""What a downgrade loses: the rows and values that the tables of an older revision cannot store."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

LOSSES: tuple[tuple[str, str, str], ...] = (
    ("0018", "the count of expired leases, which starts again from those of the audits", "counters WHERE value > 0"),
    ("0015", "results with attacks of users, which become cancelled audits", "audits WHERE extra_attacks IS NOT NULL"),
    ("0014", "certificates; `auditor scan … --certify bounds --force` makes them again", "certificates"),
    ("0013", "accuracies under one corruption at one severity; `auditor scan … --force` measures them again",
     "corruptions"),
    ("0013", "results under common corruptions, which become cancelled audits",
     "audits WHERE norm IN ('corruptions', 'corruptions_generated', 'corruptions_3d')"),
    ("0012", "curves, the smallest perturbations by sample; `auditor scan … --curve --force` makes them again",
     "curves"),
    ("0010", "pictures of templates; `auditor scan … --force` makes them again", "templates"),
    ("0010", "paths of files of adversarial images; the files stay", "audits WHERE adversarials IS NOT NULL"),
    ("0009", "records of true and predicted classes; the verdicts stay, and `auditor scan … --force` makes them again",
     "verdicts WHERE labels IS NOT NULL"),
    ("0009", "success rates of targeted attacks", "audits WHERE targeted IS NOT NULL"),
    ("0008", "screenings of models; `auditor scan … --force` measures them again", "screenings"),
    ("0007", "tokens of the HTTP API", "tokens"),
    ("0006", "boosts and adaptations, with their results; checkpoints keep their files", "trainings"),
    ("0006", "comparisons of checkpoints", "checkpoints"),
    ("0005", "schedules", "schedules"),
    ("0005", "runs of schedules; their scans stay", "schedule_runs"),
    ("0005", "marks of audits that a scan verified again", "scan_audits WHERE reverified"),
    ("0004", "saved progress of attacks, which start again", "attack_progress"),
    ("0004", "queued or running audits, which no worker continues", "audits WHERE state IN ('queued', 'running')"),
    ("0004", "marks of pruned matrices; a matrix of NaN replaces each", "clusterings WHERE matrix IS NULL"),
    ("0003", "sketches, which become cancelled audits", "audits WHERE sketch IS NOT NULL"),
    ("0002", "published figures; `auditor zoo import-published` reads them again", "published"),
    ("0002", "folders of local models", "models WHERE place IS NOT NULL"),
    ("0002", "digests of an audit's images; without them `results compare` refuses the audit", "audits WHERE "
     "images_sha256 IS NOT NULL"),
    ("0002", "digests of each image of verdicts; the verdicts stay", "verdicts WHERE pictures IS NOT NULL"),
)  # fmt: skip
"""The revision that brought it, what it is, and where it is counted."""


@dataclass(frozen=True)
class Loss:
    """A number of things that a downgrade loses."""

    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.number} {self.what}"


def count_losses(engine: Engine, revision: str) -> list[Loss]:
    """What a downgrade of a database at the newest revision to this one loses; nothing that is not there."""
    found = []
    with engine.connect() as connection:
        for since, what, rows in LOSSES:
            if since > revision:
                number = connection.scalar(text(f"SELECT COUNT(*) FROM {rows}"))
                if number:
                    found.append(Loss(int(number), what))
    return found

"""Published figures."""

import dataclasses
import json
from pathlib import Path

from auditor.db.store import Store
from tests.factories.records import REQUEST, entry, record


def store_figures(store: Store, *, name: str = "a", protocol: str = "standard", **values: object) -> int:
    """A done audit whose entry and record have these values."""
    asked = {key: values.pop(key) for key in ("norm", "eps", "dataset", "place") if key in values}
    entered = dataclasses.replace(entry(name), **asked)
    _, (job,) = store.create_scan("demo", REQUEST | {"protocol": protocol}, [entered])
    found = record(name, protocol=protocol, **({"n": 1000, "clean_accuracy": 0.9} | values))
    assert store.finish(job.audit_id, store.claim(job.audit_id), found)
    return job.audit_id


GOOD = {
    "link": "https://arxiv.org/abs/1", "name": "A Paper", "authors": "A, B", "dataset": "cifar10", "venue": "NeurIPS",
    "architecture": "WideResNet-28-10", "eps": "8/255", "clean_acc": "89.69", "reported": "62.5",
    "autoattack_acc": "59.53", "external": "59.2", "unreliable": False,
}  # fmt: skip


def write(root: Path, name: str, content: object) -> Path:
    file = root / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


BAD = [
    ("{", "is not JSON"),
    ("[" * 100_000, "is not JSON"),
    ("[1]", "expected a JSON object, got a list"),
    ("{}", "got none of them"),
    (GOOD | {"clean_acc": "high"}, "expected a number for clean_acc, got 'high'"),
    (GOOD | {"clean_acc": "101"}, "from 0 to 100, got '101'"),
    (GOOD | {"clean_acc": "-1"}, "from 0 to 100"),
    (GOOD | {"clean_acc": float("nan")}, "expected a number for clean_acc"),
    (GOOD | {"clean_acc": True}, "expected a number for clean_acc, got True"),
    (GOOD | {"external": ["59"]}, "expected a number for external"),
    (GOOD | {"eps": "8/0"}, "eps: expected a number such as 0.03 or 8/255, got '8/0'"),
    (GOOD | {"eps": "0"}, "eps: expected a radius above 0"),
    (GOOD | {"unreliable": "no"}, "expected true or false for unreliable"),
    (GOOD | {"name": "a\0b"}, "expected plain text for name"),
    (GOOD | {"name": "\ud800"}, "expected plain text for name"),
    (GOOD | {"venue": 2020}, "expected plain text for venue"),
    (GOOD | {"clean_acc": "0.8969"}, "expected clean_acc in percent, got 0.8969: a fraction?"),
    (GOOD | {"clean_acc": 1}, "expected clean_acc in percent, got 1: a fraction?"),
    (GOOD | {"clean_acc": "59.3"}, "expected autoattack_acc of at most clean_acc, 59.3, got 59.53"),
    (GOOD | {"external": "90"}, "expected external of at most clean_acc, 89.69, got 90"),
    ('{"clean_acc": "80", "clean_acc": "90"}', "expected one value for 'clean_acc', got '80' and '90'"),
    ('{"a\\nb": 1, "a\\nb": 2}', r"expected one value for 'a\nb', got 1 and 2"),
]

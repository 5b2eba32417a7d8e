"""What a scan asks for survives the database: zoo entries and requests, through JSON and back."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records import AuditRequest, CustomData, Measurement, Transform, ZooEntry
from auditor.records.entries import entry_from, entry_to
from auditor.scans.request import ADDED_LATER, ScanRequest
from auditor.zoo import find_source
from auditor.zoo.local import LocalZoo
from tests.factories.local_zoo import zoo
from tests.factories.records import REQUEST


def through_json(entry: ZooEntry) -> ZooEntry:
    return entry_from(json.loads(json.dumps(entry_to(entry), allow_nan=False)))


LOCAL = """\
[datasets.pets]
path = "pets"
classes = ["cat", "dog", "cow"]
superclasses = { small = ["cat", "dog"], large = ["cow"] }
input_size = [3, 8, 8]

[[models]]
name = "plain"
weights = "plain.safetensors"
dataset = "pets"
norm = "Linf"
eps = "8/255"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.25, 0.125]
architecture = { python = "nets.py:make", kwargs = { widths = [1, 2.5], deep = { a = true, b = "é\\u0000" }, big = 9007199254740993 } }

[[models]]
name = "scaled/β"
weights = "plain.safetensors"
dataset = "pets"
norm = "L2"
eps = 1
sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
threat_model = "corruptions"
resize = [9, 10]
crop = [8, 8]
interpolation = "bicubic"
mean = "none"
std = "none"
architecture = { python = "nets.py:make" }

[[models]]
name = "levels"
weights = "levels.safetensors"
norm = "Linf"
eps = 0.1
architecture = { python = "nets.py:make" }
mean = [0.2860]
std = [0.3530]
resize = "none"
[models.dataset]
name = "my-clothes"
path = "clothes.npz"
classes = "fashion_mnist"
input_size = [1, 28, 28]
headline = 1
[[models.dataset.superclasses]]
tops = ["T-shirt/top", "pullover", "dress", "coat", "shirt"]
footwear = ["sandal", "sneaker", "ankle boot"]
trouser = ["trouser"]
bag = ["bag"]
[[models.dataset.superclasses]]
worn = ["T-shirt/top", "pullover", "dress", "coat", "shirt", "sandal", "sneaker", "ankle boot", "trouser"]
carried = ["bag"]
"""  # noqa: E501


def local(folder: Path) -> LocalZoo:
    return zoo(folder, LOCAL)


@pytest.mark.parametrize("source", ["demo", "robustbench", "timm", "torchvision", "local"])
def test_every_entry_of_every_zoo(source: str, tmp_path: Path) -> None:
    if source == "timm" and importlib.util.find_spec("timm") is None:
        pytest.skip("needs timm, of the extra `zoos`")
    entries = (local(tmp_path) if source == "local" else find_source(source)).entries()
    assert len(entries) >= 3
    for entry in entries[:: 17 if source == "timm" else 1]:
        assert through_json(entry) == entry


def test_the_local_zoo_has_all_that_an_entry_may_hold(tmp_path: Path) -> None:
    plain, scaled, levels = local(tmp_path).entries()
    assert plain.architecture["kwargs"]["deep"] == {"a": True, "b": "é\0"}
    assert (scaled.transform.resize, scaled.transform.interpolation) == ((9, 10), "bicubic")
    assert (len(levels.own_data.levels), levels.own_data.headline) == (2, 1)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_no_json_holds_are_refused_in_a_local_zoo(tmp_path: Path, number: str) -> None:
    text = LOCAL.replace("9007199254740993", number)
    with pytest.raises(UsageError, match="expected only finite numbers, strings, booleans, lists and tables"):
        zoo(tmp_path, text).entries()


def test_entries_survive_the_database_itself(shared: Engine, tmp_path: Path) -> None:
    entries = [*local(tmp_path).entries(), *find_source("demo").entries()]
    store = Store(shared)
    _, jobs = store.create_scan("x", REQUEST, entries)
    assert [store.load_job(job.audit_id) for job in jobs] == jobs
    assert [job.entry for job in jobs] == entries


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
tables_ = st.dictionaries(texts, values, max_size=3)
sides = st.integers(1, 5000)
transforms = st.builds(
    Transform,
    resize=st.none() | sides | st.tuples(sides, sides),
    crop=st.none() | st.tuples(sides, sides),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
tuples = st.lists(texts, max_size=4).map(tuple)
own = st.builds(
    CustomData, path=st.none() | texts, classes=tuples, levels=st.lists(tuples, max_size=3).map(tuple), headline=sides
)
entries = st.builds(
    ZooEntry,
    **dict.fromkeys(("model", "source", "description", "dataset", "threat_model", "norm"), texts),
    **dict.fromkeys(("architecture", "preprocessing", "training"), tables_),
    eps=numbers,
    input_size=st.tuples(sides, sides, sides),
    file_sha256=st.none() | texts,
    own_data=st.none() | own,
    transform=st.none() | transforms,
    place=st.none() | texts,
)


@given(entries)
def test_any_entry(entry: ZooEntry) -> None:
    assert through_json(entry) == entry


paths = st.none() | texts.filter(lambda text: "\0" not in text).map(lambda text: Path("/data") / text)
requests = st.builds(
    ScanRequest,
    measurement=st.builds(
        Measurement,
        audit=st.builds(
            AuditRequest,
            protocol=texts,
            linearization=texts,
            sketch=st.none() | st.integers(8, 65536),
            seed=st.integers(0, 2**31 - 1),
            device=texts,
            batch_size=st.integers(1, 10**6),
            targeted=st.none() | st.just("superclass"),
        ),
        samples=st.none() | st.integers(0, 10**6),
        data=paths,
        adversarials=paths,
    ),
    folder=paths.map(lambda path: path and str(path)),
    trust_code=st.booleans(),
    seconds=st.floats(0.1, 1e9),
    memory=st.none() | st.integers(1, 2**50),
    force=st.booleans(),
)


@given(requests)
def test_any_request(request: ScanRequest) -> None:
    assert ScanRequest.from_json(json.loads(json.dumps(request.to_json(), allow_nan=False))) == request


@pytest.mark.parametrize(
    "missing",
    sorted(
        set(ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=1)).to_json())
        - ADDED_LATER  # none, where it is not said
    ),
)
def test_a_request_of_an_older_auditor_is_one_line(missing: str) -> None:
    asked = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=1))
    stored: dict[str, Any] = {name: value for name, value in asked.to_json().items() if name != missing}
    with pytest.raises(UsageError) as caught:
        ScanRequest.from_json(stored)
    assert str(caught.value) == (
        f"the request of this scan was stored by another version of auditor (no {missing!r}): start a new scan"
    )


def test_a_request_with_another_type_is_one_line_without_the_words_of_a_library() -> None:
    asked = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=1))
    with pytest.raises(UsageError) as caught:
        ScanRequest.from_json(asked.to_json() | {"samples": "many"})
    reason = str(caught.value).partition("(")[2].partition(")")[0]
    assert reason.endswith("samples: expected a whole number, got 'many'")


def test_a_newer_request_says_more_than_is_needed() -> None:
    asked = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=None))
    assert ScanRequest.from_json(asked.to_json() | {"of the future": 1}) == asked
    assert ScanRequest.from_json(asked.to_json() | {"force": True}) == replace(asked, force=True)

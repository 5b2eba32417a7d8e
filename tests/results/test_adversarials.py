"""Reading files of adversarial images: what is in them, and one line for everything that is no such file."""

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from auditor.config import settings
from auditor.db.results import load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import DataError
from auditor.results.adversarials import as_floats, distance, open_of_audit, open_saved
from tests.factories.pictures import saved
from tests.factories.records import done_audit


def test_samples_are_what_was_saved(tmp_path: Path) -> None:
    made = saved(tmp_path / "a.npz", channels=3)
    found = open_saved(tmp_path / "a.npz")
    assert (found.model, found.identity, found.norm, found.eps) == ("demo:a", "i", "Linf", 0.1)
    assert found.clean is not None
    assert found.clean.dtype == np.uint8
    samples = found.samples([5, 0])
    for sample, k in zip(samples, (5, 0), strict=True):
        assert (sample.number, sample.label, sample.predicted) == (10 + k, k % 3, (k + 1) % 3)
        np.testing.assert_array_equal(sample.adversarial, made.images[k])
        clean = made.clean[k].astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(sample.clean, clean)
        assert sample.distance == pytest.approx(np.abs(made.images[k].astype(float) - clean).max())
        assert sample.distance <= 0.1 + 1e-6
    assert found.samples([]) == []


def test_the_distance_is_the_norms() -> None:
    first, second = np.random.default_rng(0).random((2, 3, 4, 4))
    assert distance(first, second, "L2") == pytest.approx(np.linalg.norm((first - second).ravel()))
    assert distance(first, second, "Linf") == pytest.approx(np.linalg.norm((first - second).ravel(), np.inf))


def test_selections_by_class_attack_and_number(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz")
    found = open_saved(tmp_path / "a.npz")
    assert found.select(label=0) == [0, 3, 6]
    assert found.select(attack="pgd-20") == [1, 3, 5]
    assert found.select(label=0, attack="pgd-20") == [3]
    assert found.select(numbers=[16, 11, 99]) == [1, 6]
    assert found.varied(4) == [0, 1, 2, 3]  # labels 0, 1, 2, and 0 again


def test_images_between_levels_keep_their_values(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((4, 1, 2, 2)).astype(np.float32)
    made = saved(tmp_path / "a.npz", count=4).beside(np.repeat(images, 2, 0), np.array([1, 10, 2, 11, 3, 12, 4, 13]))
    assert made.clean is not None
    np.testing.assert_array_equal(made.clean, images)


def test_a_file_without_clean_images_is_readable(tmp_path: Path) -> None:
    made = saved(tmp_path / "a.npz")
    _rewrite(tmp_path / "a.npz", clean=None)
    found = open_saved(tmp_path / "a.npz")
    (sample,) = found.samples([2])
    assert sample.clean is None
    assert np.isnan(sample.distance)
    np.testing.assert_array_equal(sample.adversarial, made.images[2])


def _rewrite(path: Path, *, compress: bool = False, **changes: object) -> None:
    """The same file with other arrays; None leaves one out."""
    with np.load(path, allow_pickle=True) as read:
        arrays = {name: read[name] for name in read.files} | changes
    (np.savez_compressed if compress else np.savez)(path, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "no array 'labels'"),
        ({"labels": np.zeros(3, np.int64)}, "'labels' has another shape or type"),
        ({"images": np.zeros((7, 5, 5), np.float32)}, "'images' has another shape or type"),
        ({"clean": np.zeros((7, 1, 4, 4), np.uint8)}, "'clean' has another shape or type"),
        ({"attacks": np.array([{}] * 7, object)}, "Python objects"),
        ({"images": np.zeros((7, 1, 0, 5), np.float32)}, "'images' has another shape or type"),
        ({"attacks": np.array(["a\ud800"] * 7)}, "a fact cannot be read"),
        ({"model": np.array(["a", "b"])}, "'model' has another shape or type"),
        ({"eps": np.array("far")}, "a fact cannot be read: could not convert"),
        ({"images": np.asfortranarray(np.zeros((7, 1, 5, 5), np.float32))}, "not in C order"),
        ({"compress": True}, "it is compressed"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_one_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    saved(tmp_path / "a.npz")
    _rewrite(tmp_path / "a.npz", **changes)
    with pytest.raises(DataError, match=message) as raised:
        open_saved(tmp_path / "a.npz")
    assert len(str(raised.value).splitlines()) == 1
    assert str(tmp_path) not in str(raised.value)


@given(st.integers(0, 3000), st.binary(max_size=40))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_errors_of_data_or_readable(tmp_path: Path, place: int, content: bytes) -> None:
    path = tmp_path / "a.npz"
    saved(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + content)
    with pytest.raises(DataError):
        open_saved(path)
    path.write_bytes(whole[:place] + content + whole[place + len(content) :])
    with contextlib.suppress(DataError):
        found = open_saved(path)
        found.samples(found.select())


def test_a_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz")
    found = open_saved(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(DataError, match="ends too early"):
        found.samples([0])
    (tmp_path / "a.npz").unlink()
    with pytest.raises(DataError, match=r"^cannot read a\.npz: No such file or directory$"):
        found.samples([0])
    (tmp_path / "loop.npz").symlink_to(tmp_path / "loop.npz")
    with pytest.raises(DataError) as raised:
        open_saved(tmp_path / "loop.npz")
    assert str(tmp_path) not in str(raised.value)


def test_only_the_audits_own_file_is_read(tmp_path: Path) -> None:
    engine = open_database(settings().database_url)
    path = tmp_path / "a.npz"
    audit_id = done_audit(Store(engine), adversarials=str(path))
    detail = load_detail(engine, audit_id)
    with pytest.raises(DataError, match=r"a\.npz is not on this machine any more; `auditor scan") as raised:
        open_of_audit(detail)
    assert str(tmp_path) not in str(raised.value)
    saved(path)
    assert len(open_of_audit(detail).indices) == 7
    for foreign in ({"identity": "other"}, {"model": "demo:b"}):
        saved(path, **foreign)
        with pytest.raises(DataError, match="adversarial images of another audit"):
            open_of_audit(detail)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="expected a file, got a folder"):
        open_of_audit(detail)
    without = load_detail(engine, done_audit(Store(engine), "b", identity="j"))
    with pytest.raises(DataError, match="saved no adversarial images; `auditor scan"):
        open_of_audit(without)


def test_a_signalling_nan_is_no_warning() -> None:
    images = np.array([[[0x7FA00000]]], np.uint32).view(np.float32)
    assert math.isnan(distance(images, images, "Linf"))
    assert np.isnan(as_floats(images)).all()

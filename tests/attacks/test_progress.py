"""Attacks that crash and go on: wherever it happens, the result is that of a run in one go."""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from auditor.attacks import PROTOCOLS, Protocol, RobustnessResult, evaluate_robustness
from auditor.attacks.progress import (
    SAVE_SECONDS,
    State,
    pack_bits,
    pack_bytes,
    pack_numbers,
    unpack_bits,
    unpack_bytes,
    unpack_numbers,
)
from auditor.attacks.protocols import Attack
from auditor.audit.resume import SavedAttempt, attempt_key
from auditor.errors import MeasurementError
from auditor.jobs.tasks import measure_audit
from auditor.records import AttackScore, AuditRequest, JobContext, Measurement
from auditor.zoo import select
from auditor.zoo.demo import DemoZoo
from tests.factories.attacked_models import Linear, Wrapped
from tests.factories.children import child, measure_and_be_killed

N = 20
BOTH_ENGINES = Protocol(
    "own",
    N,
    (
        Attack("square", "autoattack", {"queries": 30, "restarts": 1}),
        Attack("apgd-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 2}),
        PROTOCOLS["quick"].attacks[0],
        Attack("apgd-ce", "autoattack", {"iterations": 100, "restarts": 1}),
        PROTOCOLS["quick"].attacks[1],
        Attack("fab-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 2}),
        PROTOCOLS["quick"].attacks[0],
    ),
    "attacks of both engines, one of them twice",
)
APGD_FIRST = Protocol(
    "own", N, (BOTH_ENGINES.attacks[3], BOTH_ENGINES.attacks[0], BOTH_ENGINES.attacks[4]), "APGD, Square and PGD"
)


class CrashError(BaseException):
    """What a machine that fails looks like from inside."""


class Forgetful(nn.Module):
    """Runs out of memory on a batch above 4 as soon as an image of it is attacked and is one of the last ones."""

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.images = Linear(5), images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        late = torch.cdist(x.flatten(1), self.images[12:].flatten(1), p=torch.inf).amin(1)
        if len(x) > 4 and ((late > 1e-6) & (late < 0.06)).any():
            raise torch.OutOfMemoryError("no memory left")
        return self.inner(x)


class Fragile(nn.Module):
    """Another model that crashes at one of its forward passes."""

    def __init__(self, inner: nn.Module, last: int | None = None) -> None:
        super().__init__()
        self.inner, self.last, self.passes = inner, last, Passes()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes.seen += 1
        if self.passes.seen == self.last:
            raise CrashError("in the middle of a batch")
        return self.inner(x)


class Passes:
    """How many there were, of the model and of all copies of it."""

    def __init__(self) -> None:
        self.seen = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Passes":
        return self


class Normed(Linear):
    """A linear classifier behind a convolution and a batch norm that hardly change anything."""

    def __init__(self) -> None:
        super().__init__(5)
        self.conv, self.norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1)
        nn.init.ones_(self.conv.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.norm(self.conv(x)))


class Kept:
    """Keeps the last state, and crashes at a save, before or after it has kept it."""

    def __init__(self, state: bytes | None = None, last: int | None = None, after: bool = False) -> None:
        self.state, self.last, self.after, self.saves = state, last, after, 0

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes) -> None:
        self.saves += 1
        if self.after or self.saves != self.last:
            self.state = state
        if self.saves == self.last:
            raise CrashError("while it was saved")


def _images() -> torch.Tensor:
    return 0.3 + 0.4 * torch.rand(N, 1, 6, 6, generator=torch.Generator().manual_seed(3))


CASES: dict[str, tuple[Callable[[], nn.Module], str | Protocol, int]] = {
    "quick": (lambda: Linear(5), "quick", 6),
    "both engines": (lambda: Linear(5), BOTH_ENGINES, 8),
    "folded": (Normed, BOTH_ENGINES, 8),
    "three classes": (lambda: Linear(3), BOTH_ENGINES, 7),
    "no gradient": (lambda: Wrapped("detached"), BOTH_ENGINES, 6),
    "randomized": (lambda: Wrapped("random"), "quick", 4),
    "out of memory": (lambda: Forgetful(_images()), "quick", 7),
    "out of memory twice": (lambda: Forgetful(_images()), APGD_FIRST, 20),
}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is saved, and the rand version is a short one."""
    monkeypatch.setattr("auditor.attacks.progress.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("auditor.attacks.attack_copy.MIN_PASSES", 0)
    short = tuple(
        Attack(name, "autoattack", {"iterations": 100, "restarts": 1, "eot": 2}) for name in ("apgd-ce", "apgd-dlr")
    )
    monkeypatch.setattr("auditor.attacks.protocols.RANDOMIZED", short)


def _run(case: str, saved: Kept | None, last: int | None = None, **changes: Any) -> tuple[RobustnessResult, int]:
    """The result, and how many forward passes there were."""
    make, protocol, batch_size = CASES[case]
    model, images = Fragile(make(), last), _images()
    with torch.no_grad():
        labels = Linear(3 if case == "three classes" else 5)(images).argmax(1)
    labels[::10] = (labels[::10] + 1) % 3
    given = {"norm": "Linf", "eps": 0.015, "protocol": protocol, "batch_size": batch_size, "seed": 4, **changes}
    return evaluate_robustness(model, images, labels, saved=saved, **given), model.passes.seen


def _same(one: RobustnessResult, other: RobustnessResult) -> None:
    """Equal in all but the seconds."""
    for field in dataclasses.fields(RobustnessResult):
        first, second = getattr(one, field.name), getattr(other, field.name)
        if field.name == "attacks":
            timeless = [[dataclasses.replace(score, seconds=0) for score in scores] for scores in (first, second)]
            assert timeless[0] == timeless[1]
        elif isinstance(first, torch.Tensor):
            assert torch.equal(first, second), field.name
        elif field.name != "earlier":
            assert first == second, field.name


_WHOLE: dict[str, tuple[RobustnessResult, int, int]] = {}


def _whole(case: str) -> tuple[RobustnessResult, int, int]:
    """The result of a run in one go, its forward passes, and its saves."""
    if case not in _WHOLE:
        kept = Kept()
        result, passes = _run(case, None)
        _same(result, _run(case, kept)[0])
        _WHOLE[case] = result, passes, kept.saves
    return _WHOLE[case]


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_the_cases_are_what_they_say(case: str) -> None:
    result, _, saves = _whole(case)
    assert 0 < result.robust_accuracy < result.clean_accuracy < 1 or case == "no gradient"
    assert len(set(result.broken_at.tolist())) > 1 or case == "no gradient"
    assert saves >= len(result.attacks)
    said = " ".join(result.notes)
    assert ("apgd-dlr instead" in said) == (case == "three classes")
    assert ("left out" in said) == (case == "no gradient")
    assert ("rand version" in said) == (case == "randomized")
    assert said.count("out of memory") == {"out of memory": 1, "out of memory twice": 3}.get(case, 0)
    assert len(result.notes) == len(set(result.notes)) or case == "no gradient"


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_crash_at_a_save_changes_nothing(case: str) -> None:
    expected, _, saves = _whole(case)
    for last in range(1, saves + 1, 1 if CASES[case][1] == "quick" else 5):
        kept = Kept(last=last, after=last % 3 == 0)
        with pytest.raises(CrashError):
            _run(case, kept)
        result, _ = _run(case, Kept(kept.state))
        _same(result, expected)
        assert (result.earlier > 0) == (kept.state is not None)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_crash_in_the_middle_of_a_batch_changes_nothing(case: str) -> None:
    expected, passes, _ = _whole(case)
    points = (
        np.linspace(1, passes, 40 if case == "quick" else 6 if CASES[case][1] == "quick" else 4).astype(int).tolist()
    )
    for last in points:
        kept = Kept()
        with pytest.raises(CrashError):
            _run(case, kept, last)
        result, seen = _run(case, kept)
        _same(result, expected)
        assert seen <= passes


@pytest.mark.long
@pytest.mark.parametrize("case", ["quick", "three classes", "randomized", "out of memory"])
def test_a_run_that_crashes_again_and_again_comes_to_its_end(case: str) -> None:
    expected, _, saves = _whole(case)
    kept = Kept(last=1, after=True)
    earlier = 0.0
    for _ in range(saves):
        with pytest.raises(CrashError):
            _run(case, kept)
        state = State.from_bytes(kept.state or b"")
        assert state is not None
        assert state.seconds > earlier
        earlier, kept = state.seconds, Kept(kept.state, last=1, after=True)
    result, _ = _run(case, kept)
    assert kept.saves == 0
    _same(result, expected)
    assert result.earlier == earlier
    assert sum(score.seconds for score in result.attacks) < earlier + 1


@pytest.mark.long
def test_targeted_attacks_run_again_after_a_crash_to_the_same_rates() -> None:
    families = {"superclasses": ["x", "x", "y", "y", "z"]}
    expected, passes = _run("quick", None, **families)
    assert expected.targeted is not None
    assert expected.targeted.across > 0
    for last in (passes // 3, passes - 3):
        kept = Kept()
        with pytest.raises(CrashError):
            _run("quick", kept, last, **families)
        _same(_run("quick", kept, **families)[0], expected)


@pytest.mark.long
def test_what_is_done_is_not_done_again() -> None:
    _, passes, _ = _whole("both engines")
    kept = Kept()
    _run("both engines", kept)
    assert _run("both engines", Kept(kept.state))[1] < passes / 10


def test_a_saved_state_is_small() -> None:
    kept = Kept()
    _run("both engines", kept)
    assert len(kept.state or b"") < 8000


def _damages(state: bytes) -> Iterator[bytes]:
    yield b""
    yield b"nonsense"
    yield state[: len(state) // 2]
    yield state[:40] + bytes([state[40] ^ 1]) + state[41:]
    text = zlib.decompress(state)
    for old, new in (
        (b'"format": 3', b'"format": 2'),
        (b'"step"', b'"stop"'),
        (b'"20:', b'"21:'),
        (b'"20:', b'"2000:'),
    ):
        assert old in text
        yield zlib.compress(text.replace(old, new, 1))
    yield zlib.compress(b"[1, 2]")
    yield zlib.compress(text.replace(b'"generators": ["', b'"generators": ["AAAA'))


def test_a_damaged_state_is_not_used() -> None:
    expected, passes, _ = _whole("quick")
    kept = Kept(last=4)
    with pytest.raises(CrashError):
        _run("quick", kept)
    for damaged in _damages(kept.state or b""):
        result, seen = _run("quick", Kept(damaged))
        _same(result, expected)
        assert (result.earlier, seen) == (0, passes)


def test_where_the_clean_images_are_classified_otherwise_all_is_run_anew() -> None:
    expected, passes, _ = _whole("quick")
    kept = Kept()
    _run("quick", kept)
    state = State.from_bytes(kept.state or b"")
    assert state is not None
    other = unpack_bits(state.correct)
    other[3] = ~other[3]
    result, seen = _run("quick", Kept(dataclasses.replace(state, correct=pack_bits(other)).to_bytes()))
    note = "attacks started again: the model classifies the clean images differently than before"
    assert result.notes == [*expected.notes, note]
    _same(dataclasses.replace(result, notes=expected.notes), expected)
    assert seen == passes


def test_with_images_kept_nothing_is_saved_or_resumed() -> None:
    _, passes, _ = _whole("quick")
    kept = Kept()
    _run("quick", kept)
    again = Kept(kept.state)
    result, seen = _run("quick", again, keep=True)
    assert (result.earlier, seen, again.saves) == (0, passes, 0)
    assert result.adversarials is not None


def test_a_model_that_changes_its_own_buffers_is_not_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CASES, "counting", (lambda: Wrapped("counting"), "quick", 6))
    kept = Kept()
    _run("counting", kept)
    assert (kept.saves, kept.state) == (0, None)


def test_batches_are_saved_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.attacks.progress.SAVE_SECONDS", SAVE_SECONDS)
    kept = Kept()
    result, _ = _run("both engines", kept)
    assert kept.saves == len(result.attacks) == 7


_scores = st.builds(
    AttackScore,
    attack=st.text(),
    parameters=st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.booleans() | st.text()),
    n=st.integers(0),
    broken=st.integers(0),
    robust_accuracy=st.floats(0, 1),
    seconds=st.floats(0),
)


@st.composite
def _states(draw: st.DrawFn) -> State:
    n = draw(st.integers(0, 40))
    bits = st.lists(st.booleans(), min_size=n, max_size=n).map(lambda chosen: pack_bits(torch.tensor(chosen).bool()))
    classes = st.integers(-1, 20)
    numbers = st.lists(classes, min_size=n, max_size=n).map(lambda chosen: pack_numbers(torch.tensor(chosen).long()))
    some = st.lists(classes).map(lambda chosen: pack_numbers(torch.tensor(chosen).long()))
    return State(
        correct=draw(bits),
        standing=draw(bits),
        broken_by=draw(st.dictionaries(st.text(), bits, max_size=4)),
        predicted=draw(numbers),
        broken_at=draw(numbers),
        scores=tuple(draw(st.lists(_scores, max_size=3))),
        flags=draw(st.lists(st.text(), max_size=3)),
        notes=draw(st.lists(st.text(), max_size=3)),
        batch_size=draw(st.integers(1)),
        step=draw(st.integers(0)),
        partial=draw(st.none() | some),
        generators=[pack_bytes(torch.tensor(list(one), dtype=torch.uint8)) for one in draw(st.lists(st.binary()))],
        attack_seconds=draw(st.floats(0, allow_infinity=False)),
        seconds=draw(st.floats(0, allow_infinity=False)),
    )


@pytest.mark.long
@given(_states())
def test_states_go_to_bytes_and_back(state: State) -> None:
    assert State.from_bytes(state.to_bytes()) == state


@given(st.lists(st.booleans()), st.lists(st.integers(-1, 2**31 - 1)), st.binary())
def test_bits_numbers_and_bytes_go_to_text_and_back(bits: list[bool], numbers: list[int], content: bytes) -> None:
    assert unpack_bits(pack_bits(torch.tensor(bits).bool())).tolist() == bits
    assert unpack_numbers(pack_numbers(torch.tensor(numbers).long())).tolist() == numbers
    assert bytes(unpack_bytes(pack_bytes(torch.tensor(list(content), dtype=torch.uint8))).tolist()) == content


@given(st.binary())
def test_no_bytes_make_a_state_fail(content: bytes) -> None:
    assert State.from_bytes(content) is None
    State.from_bytes(zlib.compress(content))


VERSIONS = dict.fromkeys(("auditor", "torch", "numpy", "pyautoattack", "scipy"), "1.0")
REQUEST = AuditRequest(protocol="quick")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"identity": "another"}, False),
        ({"request": dataclasses.replace(REQUEST, device="cuda:1")}, False),
        ({"request": dataclasses.replace(REQUEST, batch_size=32)}, False),
        *(({"versions": VERSIONS | {name: "1.1"}}, name == "scipy") for name in VERSIONS),
    ],
)
def test_the_key_is_all_that_must_be_equal(change: dict[str, Any], same: bool) -> None:
    usual = {"identity": "an identity", "request": REQUEST, "versions": VERSIONS}
    assert (attempt_key(**usual) == attempt_key(**usual | change)) == same


def test_what_was_saved_under_another_key_is_not_used() -> None:
    store: dict[str, bytes] = {}
    context = JobContext(load=lambda _: store.get("only"), save=lambda _, state: store.update(only=state))
    one, other = SavedAttempt(context, 64 * "1"), SavedAttempt(context, 64 * "2")
    assert one.load() is None
    one.save(b"state")
    assert (one.load(), other.load()) == (b"state", None)


@pytest.mark.long
def test_a_child_that_is_killed_is_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    source = DemoZoo()
    (entry,) = select(source.entries(), models=["standard"])
    request = Measurement(audit=AuditRequest(protocol="quick", batch_size=16), samples=40)
    store: dict[str, bytes] = {}
    context = JobContext(load=store.get, save=store.__setitem__)
    whole = child(measure_audit)(source, entry, request, JobContext())
    for saves in (2, 1):
        monkeypatch.setenv("SAVES_BEFORE_THE_END", str(saves))
        with pytest.raises(MeasurementError, match="was killed"):
            child(measure_and_be_killed)(source, entry, request, context)
        (state,) = (State.from_bytes(saved[64:]) for saved in store.values())
        assert state is not None
    assert state.step == 1
    assert state.partial is not None or state.scores
    resumed = child(measure_audit)(source, entry, request, context)
    assert resumed.seconds > state.seconds
    for field in ("identity", "n", "clean_accuracy", "robust_accuracy", "flags", "notes", "batch_size"):
        assert getattr(resumed, field) == getattr(whole, field)
    for name in ("correct", "survived", "labels", "predicted", "broken_at"):
        np.testing.assert_array_equal(getattr(resumed.verdicts, name), getattr(whole.verdicts, name))
    timeless = [[dataclasses.replace(one, seconds=0) for one in record.attacks] for record in (resumed, whole)]
    assert timeless[0] == timeless[1]

"""A cascade's state as bytes: a later attempt resumes from it, and gets the result of an uninterrupted run.

The state is small: bits, classes and generator states, no logits and no images. Clean images are evaluated again.
"""

import base64
import json
import logging
import time
import zlib
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from auditor.records import AttackScore

SAVE_SECONDS = 30.0
"""The minimum time between two saves within one attack."""
FORMAT = 3
"""A state of another format is not used: the attacks start again."""

logger = logging.getLogger(__name__)


class SavedProgress(Protocol):
    """Stores the state of a run with exactly these arguments. An exception from either method ends the run."""

    def load(self) -> bytes | None:
        """The state that was saved last; None if there is none."""

    def save(self, state: bytes) -> None:
        """Replace the saved state; empty bytes mean that the old state is unusable and the run starts again."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A cascade between two batches. Bits, numbers and bytes are text: see :func:`pack_bits` and so on.

    Attributes:
        correct, standing: N bits, for samples that are classified correctly, and that no attack has broken yet.
        broken_by: N bits for each finished attack, by its name: the samples that it broke.
        predicted, broken_at, scores, flags, notes, batch_size: as in the result.
        step: the number of finished attacks of the protocol.
        partial: for the first samples of the running attack the classes that they became, -1 if it did not break
            them; None before it starts.
        generators: states of torch's generators, the CPU's first; randomized models draw from them.
        attack_seconds, seconds: the time spent on the running attack, and on the whole run.
        gradients: the number of gradients taken at images, and how many of these were not finite.
        lack: what each sample lacks to the boundary, if a search has measured it.
        sizes: of the nearest adversarial image found for each sample, if a curve is measured.
        nearest: N bits, the samples for which the search for the smallest perturbation found it, once it has ended.
        drawn: the sizes that the random part has had, if attacks run on one.
    """

    correct: str
    standing: str
    broken_by: dict[str, str]
    predicted: str
    broken_at: str
    scores: tuple[AttackScore, ...]
    flags: list[str]
    notes: list[str]
    batch_size: int
    step: int
    partial: str | None
    generators: list[str]
    attack_seconds: float
    seconds: float
    gradients: tuple[int, int] = (0, 0)
    lack: str | None = None
    sizes: str | None = None
    nearest: str | None = None
    drawn: list[int] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        return zlib.compress(json.dumps({"format": FORMAT, **asdict(self)}).encode())

    @classmethod
    def from_bytes(cls, content: bytes) -> "State | None":
        """The state; None if it cannot be read."""
        try:
            values = json.loads(zlib.decompress(content))
            if values.pop("format") != FORMAT:
                raise ValueError("another format")
            values["scores"] = tuple(AttackScore(**score) for score in values["scores"])
            values["gradients"] = tuple(values["gradients"])
            state = cls(**values)
            sizes = {len(unpack_bits(bits)) for bits in (state.correct, state.standing, *state.broken_by.values())}
            if len(sizes | {len(unpack_numbers(numbers)) for numbers in (state.predicted, state.broken_at)}) > 1:
                raise ValueError("values of other samples")
            unpack_numbers("0:" if state.partial is None else state.partial)
            floats = {len(unpack_floats(text)) for text in (state.lack, state.sizes) if text is not None}
            if floats - sizes or (state.nearest is not None and len(unpack_bits(state.nearest)) not in sizes):
                raise ValueError("values of other samples")
            for generator in state.generators:
                unpack_bytes(generator)
        except (zlib.error, ValueError, TypeError, KeyError, AttributeError):
            logger.debug("saved progress cannot be read", exc_info=True)
            return None
        return state


class Saver:
    """Saves a cascade's states, at most every ``SAVE_SECONDS`` within an attack; does nothing if ``saved`` is None.

    A model that changes its own buffers as it runs cannot be resumed exactly, so nothing is saved for it.
    """

    def __init__(self, saved: SavedProgress | None, model: nn.Module) -> None:
        self.saved, self.model, self.last = saved, model, time.monotonic()
        self.buffers = {name: buffer.clone() for name, buffer in model.named_buffers()} if saved else {}

    def is_due(self) -> bool:
        return self.saved is not None and time.monotonic() - self.last >= SAVE_SECONDS

    def save(self, state: State) -> None:
        if self.saved is not None and not self._changed():
            self.saved.save(state.to_bytes())
            self.last = time.monotonic()

    def load(self) -> State | None:
        content = None if self.saved is None or self._changed() else self.saved.load()
        if content is None:
            return None
        state = State.from_bytes(content)
        if state is None:
            self.discard()
        return state

    def discard(self) -> None:
        """Mark the loaded state as unusable: the run starts again."""
        if self.saved is not None:
            self.saved.save(b"")

    def _changed(self) -> bool:
        now = dict(self.model.named_buffers())
        try:
            return now.keys() != self.buffers.keys() or not all(
                torch.equal(now[name], self.buffers[name]) for name in now
            )
        except RuntimeError:  # its type has changed, or cannot be compared
            return True


def pack_bits(bits: Tensor) -> str:
    """``(N,)`` bool as text: N, a colon, and the bits in base64."""
    return f"{len(bits)}:{base64.b64encode(np.packbits(bits.cpu().numpy()).tobytes()).decode()}"


def unpack_bits(text: str) -> Tensor:
    """``(N,)`` bool, on the CPU.

    Raises:
        ValueError: the text has another format.
    """
    number, _, packed = text.partition(":")
    content = np.frombuffer(base64.b64decode(packed, validate=True), np.uint8)
    if len(content) != (int(number) + 7) // 8:
        raise ValueError(f"{len(content)} bytes of {number} bits")
    return torch.from_numpy(np.unpackbits(content, count=int(number)).astype(np.bool_))


def pack_numbers(numbers: Tensor) -> str:
    """``(N,)`` int64 as text: N, a colon, and 32-bit little-endian numbers in base64."""
    return f"{len(numbers)}:{base64.b64encode(numbers.cpu().numpy().astype('<i4').tobytes()).decode()}"


def unpack_numbers(text: str) -> Tensor:
    """``(N,)`` int64, on the CPU.

    Raises:
        ValueError: the text has another format.
    """
    number, _, packed = text.partition(":")
    numbers = np.frombuffer(base64.b64decode(packed, validate=True), "<i4")
    if len(numbers) != int(number):
        raise ValueError(f"{len(numbers)} of {number} numbers")
    return torch.from_numpy(numbers.astype(np.int64))


def pack_floats(numbers: Tensor) -> str:
    """``(N,)`` float64 as text, in base64."""
    return base64.b64encode(numbers.cpu().numpy().astype("<f8").tobytes()).decode()


def unpack_floats(text: str) -> Tensor:
    """``(N,)`` float64, on the CPU.

    Raises:
        ValueError: the text has another format.
    """
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64))


def pack_bytes(content: Tensor) -> str:
    """A uint8 tensor as text, in base64."""
    return base64.b64encode(content.cpu().numpy().tobytes()).decode()


def unpack_bytes(text: str) -> Tensor:
    """A uint8 tensor, on the CPU.

    Raises:
        ValueError: the text has another format.
    """
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), np.uint8).copy())


def generator_states(device: torch.device) -> list[str]:
    """The states of torch's global generators that a model on this device may draw from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return [pack_bytes(state) for state in states]


def set_generators(states: list[str], device: torch.device) -> None:
    """Restore :func:`generator_states`.

    Raises:
        ValueError, RuntimeError: the states do not fit this device's generators.
    """
    if [len(state) for state in states] != [len(state) for state in generator_states(device)]:
        raise ValueError(f"the states do not fit the generators of {device}")
    torch.set_rng_state(unpack_bytes(states[0]))
    if device.type == "cuda":
        torch.cuda.set_rng_state(unpack_bytes(states[1]), device)

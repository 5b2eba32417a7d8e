"""How far a cascade has come, as bytes: a later attempt goes on from there, and ends as if never interrupted.

Small on purpose: bits and generators, no logits and no images. The clean images are looked at anew.
"""

import base64
import json
import logging
import time
import zlib
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from auditor.records import AttackScore

SAVE_SECONDS = 30.0
"""Between two states saved within one attack, at least."""
FORMAT = 1

logger = logging.getLogger(__name__)


class SavedProgress(Protocol):
    """Where the state of a run with these very arguments is kept. Whatever these raise ends the run."""

    def load(self) -> bytes | None:
        """What was saved last; None where there is nothing."""

    def save(self, state: bytes) -> None:
        """Keep this in place of what was kept before; nothing, where that is of no use and the run begins anew."""


@dataclass(frozen=True, kw_only=True)
class State:
    """A cascade between two batches. Bits and bytes are text: see :func:`pack_bits` and :func:`pack_bytes`.

    Attributes:
        correct, standing: of N samples, which are classified correctly, and which nothing broke yet.
        broken_by: of N samples, which each finished attack broke, by its name.
        scores, flags, notes, batch_size: as in the result.
        step: how many of the protocol's attacks are done with.
        partial: of the first samples of the attack under way, which it broke; None before it begins.
        generators: states of torch's generators, the CPU's first; randomized models draw from them.
        attack_seconds: spent on the attack under way; ``seconds``: on all.
        gradients: how many were taken at images, and how many of those were not finite.
    """

    correct: str
    standing: str
    broken_by: dict[str, str]
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

    def to_bytes(self) -> bytes:
        return zlib.compress(json.dumps({"format": FORMAT, **asdict(self)}).encode())

    @classmethod
    def from_bytes(cls, content: bytes) -> "State | None":
        """None where it cannot be read."""
        try:
            values = json.loads(zlib.decompress(content))
            if values.pop("format") != FORMAT:
                raise ValueError("another format")
            values["scores"] = tuple(AttackScore(**score) for score in values["scores"])
            state = cls(**values)
            if len({len(unpack_bits(bits)) for bits in (state.correct, state.standing, *state.broken_by.values())}) > 1:
                raise ValueError("bits of other samples")
            unpack_bits("0:" if state.partial is None else state.partial)
            for generator in state.generators:
                unpack_bytes(generator)
        except (zlib.error, ValueError, TypeError, KeyError, AttributeError):
            logger.debug("saved progress cannot be read", exc_info=True)
            return None
        return state


class Saver:
    """Saves a cascade's states, not too often; nothing where nobody keeps them, or where a state would not be all.

    A model that changes its own buffers as it runs cannot be resumed exactly: nothing of it is saved.
    """

    def __init__(self, saved: SavedProgress | None, model: nn.Module) -> None:
        self.saved, self.model, self.last = saved, model, time.monotonic()
        self.buffers = {name: buffer.clone() for name, buffer in model.named_buffers()} if saved else {}

    def due(self) -> bool:
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
        """Say that what was loaded is of no use, and the run begins anew."""
        if self.saved is not None:
            self.saved.save(b"")

    def _changed(self) -> bool:
        now = dict(self.model.named_buffers())
        try:
            return now.keys() != self.buffers.keys() or not all(
                torch.equal(now[name], self.buffers[name]) for name in now
            )
        except RuntimeError:  # of another type than before, or of one that cannot be compared
            return True


def pack_bits(bits: Tensor) -> str:
    """``(N,)`` bool as text: N, a colon, and the bits in base64."""
    return f"{len(bits)}:{base64.b64encode(np.packbits(bits.cpu().numpy()).tobytes()).decode()}"


def unpack_bits(text: str) -> Tensor:
    """``(N,)`` bool, on the CPU.

    Raises:
        ValueError: it is no such text.
    """
    number, _, packed = text.partition(":")
    content = np.frombuffer(base64.b64decode(packed, validate=True), np.uint8)
    if len(content) != (int(number) + 7) // 8:
        raise ValueError(f"{len(content)} bytes of {number} bits")
    return torch.from_numpy(np.unpackbits(content, count=int(number)).astype(np.bool_))


def pack_bytes(content: Tensor) -> str:
    """A uint8 tensor as text, in base64."""
    return base64.b64encode(content.cpu().numpy().tobytes()).decode()


def unpack_bytes(text: str) -> Tensor:
    """A uint8 tensor, on the CPU.

    Raises:
        ValueError: it is no such text.
    """
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), np.uint8).copy())


def generator_states(device: torch.device) -> list[str]:
    """Of torch's global generators that a model on this device may draw from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return [pack_bytes(state) for state in states]


def set_generators(states: list[str], device: torch.device) -> None:
    """Put :func:`generator_states` back.

    Raises:
        ValueError, RuntimeError: they are none of this device's.
    """
    if [len(state) for state in states] != [len(state) for state in generator_states(device)]:
        raise ValueError(f"other generators than those of {device}")
    torch.set_rng_state(unpack_bytes(states[0]))
    if device.type == "cuda":
        torch.cuda.set_rng_state(unpack_bytes(states[1]), device)

"""The state of a cascade: what it has found so far, how it is saved, resumed, and extended batch by batch."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from auditor.attacks.adversarials import Part
from auditor.attacks.attack_copy import COPY_REJECTED
from auditor.attacks.attacker import Attacker
from auditor.attacks.progress import (
    SavedProgress,
    Saver,
    State,
    generator_states,
    pack_bits,
    pack_floats,
    pack_numbers,
    set_generators,
    unpack_bits,
    unpack_floats,
    unpack_numbers,
)
from auditor.attacks.selection import LeftOut
from auditor.compute.batches import Result, in_batches
from auditor.records import AttackScore
from auditor.records.curves import Curve
from auditor.records.targeted import TargetedScore

Progress = Callable[[str, int, int], None]
"""Called with the attack's name, the number of samples that it has finished, and the number of its samples."""


class CascadeState:
    """Which samples survive, what broke the others, and the scores, flags and notes.

    Attributes:
        logits: ``(N, K)`` of the clean images.
        correct, survived, reached: ``(N,)`` bool: classified correctly, broken by no attack, attacked at all.
        predicted: ``(N,)`` the class after the attacks.
        broken_at: ``(N,)`` the position of the attack that broke the sample; -1 if none did.
        drawn: the sizes that the random part has had, if attacks run on one (:mod:`auditor.attacks.selection`).
    """

    logits: Tensor
    correct: Tensor
    survived: Tensor
    reached: Tensor
    predicted: Tensor
    broken_at: Tensor

    def __init__(
        self, attacker: Attacker, batch_size: int, progress: Progress, keep: bool, saved: SavedProgress | None = None
    ) -> None:
        self.attacker, self.model = attacker, attacker.model
        self.images, self.labels = attacker.images, attacker.labels
        self.batch_size, self.progress = batch_size, progress
        self.parts: list[tuple[str, Part]] | None = [] if keep else None
        self.scores: list[AttackScore] = []
        self.broken_by: dict[str, Tensor] = {}
        self.flags: list[str] = []
        self.notes: list[str] = []
        self.saver = Saver(None if keep else saved, self.model)
        self.targeted: TargetedScore | None = None
        self.left_out: LeftOut | None = None
        self.drawn: list[int] = []
        self.sizes: Tensor | None = None
        self.nearest: Tensor | None = None
        self.curve: Curve | None = None
        self.step = 0
        self.partial: Tensor | None = None
        self.earlier = self.attack_earlier = 0.0
        self.started = self.attack_started = time.perf_counter()

    def resume(self) -> None:
        """Load what an earlier attempt saved, if the model classifies the clean images as it did then."""
        state = self.saver.load()
        if state is None:
            return
        if not torch.equal(unpack_bits(state.correct), self.correct.cpu()):
            self.notes.append("attacks started again: the model classifies the clean images differently than before")
            self.saver.discard()
            return
        try:
            set_generators(state.generators, self.images.device)
        except (ValueError, RuntimeError):  # the generators of another machine
            self.saver.discard()
            return
        self.broken_by = {name: unpack_bits(bits).to(self.survived) for name, bits in state.broken_by.items()}
        self.survived = unpack_bits(state.standing).to(self.survived)
        self.predicted = unpack_numbers(state.predicted).to(self.predicted)
        self.broken_at = unpack_numbers(state.broken_at).to(self.broken_at)
        self.flags, self.notes, self.batch_size, self.step = state.flags, state.notes, state.batch_size, state.step
        self.model.count.taken, self.model.count.nonfinite = state.gradients
        if state.lack is not None:
            self.attacker.lack = unpack_floats(state.lack).to(self.attacker.lack)
        if state.sizes is not None:
            self.sizes = unpack_floats(state.sizes).to(self.attacker.lack)
        if state.nearest is not None:
            self.nearest = unpack_bits(state.nearest).to(self.survived)
        if COPY_REJECTED in self.notes:
            self.attacker.copy.use_model()
        self.partial = None if state.partial is None else unpack_numbers(state.partial).to(self.predicted)
        self.drawn = state.drawn
        self.scores, self.earlier, self.attack_earlier = list(state.scores), state.seconds, state.attack_seconds

    def _save(self) -> None:
        now = time.perf_counter()
        self.saver.save(
            State(
                correct=pack_bits(self.correct),
                standing=pack_bits(self.survived),
                broken_by={name: pack_bits(broken) for name, broken in self.broken_by.items()},
                predicted=pack_numbers(self.predicted),
                broken_at=pack_numbers(self.broken_at),
                scores=tuple(self.scores),
                flags=self.flags,
                notes=self.notes,
                batch_size=self.batch_size,
                step=self.step,
                partial=None if self.partial is None else pack_numbers(self.partial),
                generators=generator_states(self.images.device),
                gradients=(self.model.count.taken, self.model.count.nonfinite),
                lack=pack_floats(self.attacker.lack) if self.attacker.lack.isfinite().any() else None,
                sizes=None if self.sizes is None else pack_floats(self.sizes),
                nearest=None if self.nearest is None else pack_bits(self.nearest),
                drawn=self.drawn,
                attack_seconds=0.0 if self.partial is None else self.attack_earlier + now - self.attack_started,
                seconds=self.earlier + now - self.started,
            )
        )

    def _map_resumable(self, name: str, chosen: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """:meth:`_map_batches` that saves its state, and starts where an earlier attempt stopped."""
        before = self.survived[:0] if self.partial is None else self.partial
        result = self._map_batches(name, chosen, function, [before])
        self.partial = None
        return result

    def _map_batches(
        self, name: str, chosen: Tensor, function: Callable[[Tensor], Tensor], before: list[Tensor] | None = None
    ) -> Tensor:
        """Apply ``function`` to batches of sample positions and join the results; halve batches if memory runs out.

        ``before`` has the results for the first samples. If it is given, the state is saved between batches when due.
        """
        results = before or []
        earlier = sum(map(len, results))
        self.progress(name, earlier, len(chosen))
        for done, result in self._in_batches(name, lambda part: function(chosen[part]), len(chosen), earlier):
            results.append(result)
            self.progress(name, done, len(chosen))
            if before is not None and done < len(chosen) and self.saver.is_due():
                self.partial = torch.cat(results)
                self._save()
        return torch.cat(results)

    def _in_batches(
        self, name: str, function: Callable[[slice], Result], count: int, start: int = 0
    ) -> Iterator[tuple[int, Result]]:
        """:func:`in_batches` of this cascade's batch size, which stays smaller once memory has run out."""

        def halved(size: int) -> None:
            self.batch_size = size
            self.notes.append(f"out of memory: batch size {size} from {name} on")

        return in_batches(function, count, self.batch_size, start=start, halved=halved)

    def _all(self) -> Tensor:
        return torch.arange(len(self.images), device=self.images.device)

    def _forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.model(images.clone())  # the model may work in place
        return logits

"""The cascade: each attack runs only on the samples that all earlier ones left standing (worst case per sample)."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from auditor.attacks import flags, sanity
from auditor.attacks.adversarials import Adversarials, Part, part_of
from auditor.attacks.attack_copy import ITSELF, AttackCopy
from auditor.attacks.autoattack import adapt_to_classes, run_autoattack
from auditor.attacks.classifier import Classifier
from auditor.attacks.first_step import FirstStep
from auditor.attacks.gradient import cross_entropy, margin, pgd
from auditor.attacks.norms import Norm
from auditor.attacks.progress import (
    SavedProgress,
    Saver,
    State,
    generator_states,
    pack_bits,
    set_generators,
    unpack_bits,
)
from auditor.attacks.protocols import PGD_20, Attack, for_randomized
from auditor.attacks.result import RobustnessResult
from auditor.attacks.squashing import PROBED, Unsquashed, choose_target, find_logits, usual
from auditor.errors import InputError
from auditor.records import AttackScore
from auditor.statistics import wilson_interval

Progress = Callable[[str, int, int], None]
"""Called with the attack's name, the samples it is done with, and how many it has."""
RAND = "randomized: attacked with AutoAttack's rand version (EOT over 20 passes)"


class Cascade:
    """The state of one evaluation: what still stands, and what was found on the way."""

    def __init__(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        numbers: Tensor,
        norm: Norm,
        eps: float,
        batch_size: int,
        seed: int,
        progress: Progress,
        keep: bool,
        saved: SavedProgress | None = None,
    ) -> None:
        self.model, self.images, self.labels, self.numbers = model, images, labels, numbers
        self.norm, self.eps, self.batch_size, self.seed = norm, eps, batch_size, seed
        self.progress = progress
        self.kept: list[tuple[str, Part]] | None = [] if keep else None
        self.scores: list[AttackScore] = []
        self.broken_by: dict[str, Tensor] = {}
        self.flags: list[str] = []
        self.notes: list[str] = []
        self.saver = Saver(None if keep else saved, model)
        self.step = 0
        self.partial: Tensor | None = None
        self.earlier = self.attack_earlier = 0.0
        self.started = self.attack_started = time.perf_counter()

    def look(self) -> None:
        """Clean logits, and what they and their gradients say of the model itself."""
        self.model.choose_dtype(self.images[:1])
        self.logits = self._in_batches("clean", self._all(), self._forward)
        finite = torch.isfinite(self.logits).all(1)
        if not finite.all():
            raise InputError(
                f"expected finite logits (N, K), the model gives NaN or infinite ones on {int((~finite).sum())} of "
                f"{len(finite)} clean images"
            )
        self._found(sanity.check_data(self.images, self.logits, self.labels))
        self.correct = self.logits.argmax(1) == self.labels
        self.standing = self.correct.clone()
        first = self._all()[: self.batch_size]
        self.flags += flags.output_flags(self.model, self.images[first], self.logits[first])
        before = find_logits(self.model, self.images[first[:PROBED]], self.logits.shape[1])
        self._aim(choose_target(self.model, before, self.logits, blind=False))
        zeros, chosen = self._zero_gradients(), int(self.correct.sum())
        found = flags.zero_gradient_finding(zeros, chosen) if chosen else ([], [])
        if found[0] or not self.differentiable:
            self._aim(choose_target(self.model, before, self.logits, blind=True))
            self._zero_gradients()
        self._found(found)
        squashed = flags.squashing_finding(self.target, self.logits, hidden=before is None)
        self._found(squashed if "softmax_output" not in self.flags else ([], squashed[1]))

    def _aim(self, target: nn.Module) -> None:
        """Attack this: the model, or its logits before something squashes them."""
        if target is getattr(self, "target", None):
            return
        self.target, first = target, self._all()[: self.batch_size]
        with torch.enable_grad():
            probe = self.images[:1].clone().requires_grad_()
            self.differentiable = bool(target(probe.clone()).requires_grad)
        steady = self.differentiable and not {"randomized", "batch_dependent"} & set(self.flags)
        self.attacked = AttackCopy(target, steady, self.images[first], self.labels[first], self.logits[first])
        if target is not self.model:
            self.attacked.give_up()
        self.first = FirstStep(self.images, self.labels, self.norm, steady)

    def _zero_gradients(self) -> int:
        """How many samples that are classified correctly have none."""
        chosen = self.correct.nonzero().flatten()
        if not len(chosen):
            return 0
        return int(self._in_batches("gradients", chosen, partial(self.first.zero_gradients, self.target)).sum())

    def resume(self) -> None:
        """Take up what an earlier attempt saved, where it saw the same model as this one has looked at."""
        state = self.saver.load()
        if state is None:
            return
        if not torch.equal(unpack_bits(state.correct), self.correct.cpu()):
            self.notes.append(
                "attacks not resumed but run anew: the clean images are not classified as they were before"
            )
            self.saver.discard()
            return
        try:
            set_generators(state.generators, self.images.device)
        except (ValueError, RuntimeError):  # the generators of another machine
            self.saver.discard()
            return
        self.broken_by = {name: unpack_bits(bits).to(self.standing) for name, bits in state.broken_by.items()}
        self.standing = unpack_bits(state.standing).to(self.standing)
        self.flags, self.notes, self.batch_size, self.step = state.flags, state.notes, state.batch_size, state.step
        self.model.count.taken, self.model.count.broken = state.gradients
        if ITSELF in self.notes:
            self.attacked.give_up()
        self.partial = None if state.partial is None else unpack_bits(state.partial).to(self.standing)
        self.scores, self.earlier, self.attack_earlier = list(state.scores), state.seconds, state.attack_seconds

    def run(self, attacks: tuple[Attack, ...]) -> None:
        if "randomized" in self.flags:
            attacks = for_randomized(attacks)
            self.notes += [] if RAND in self.notes else [RAND]
        for attack in attacks[self.step :]:
            adapted, note = adapt_to_classes(attack, self.logits.shape[1])
            self.notes += [note] if note and self.partial is None else []
            if adapted and not self.differentiable and adapted.engine == "autoattack" and adapted.name != "square":
                self.notes.append(f"{adapted.name} left out: the model passes no gradient to its input")
            elif adapted:
                self._attack(adapted)
            self.step += 1
            self._save()
        self._compare_steps(attacks)
        if "square" in self.broken_by:
            self._found(flags.square_finding(int(self.broken_by["square"].sum()), len(self.images)))
        self._look_for_vanishing()
        self._found(flags.nonfinite_finding(self.model.count.broken, self.model.count.taken))

    def _look_for_vanishing(self) -> None:
        """PGD-20 on logits of a usual size, outside the cascade, where many losses were 0 to the last bit."""
        chosen = self.standing.nonzero().flatten()
        loss = cross_entropy(self.labels)(self.logits.float())[self.correct]
        if self.target is not self.model or "zero_gradients" in self.flags or not len(chosen):
            return
        if float((loss == 0).float().mean()) > flags.ZERO_GRADIENT_SHARE:
            self.attacked = AttackCopy(usual(self.model, self.logits), False, self.images, self.labels, self.logits)
            found = self._in_batches("pgd-20, for flags", chosen, lambda some: self._breaks(PGD_20, some))
            self._found(flags.vanishing_finding(int(found.sum()), len(self.images)))

    def result(self) -> RobustnessResult:
        n, survivors = len(self.images), int(self.standing.sum())
        low, high = wilson_interval(survivors, n)
        return RobustnessResult(
            clean_accuracy=int(self.correct.sum()) / n,
            robust_accuracy=survivors / n,
            low=low,
            high=high,
            attacks=self.scores,
            correct=self.correct.cpu(),
            survived=self.standing.cpu(),
            logits=self.logits.cpu(),
            flags=self.flags,
            notes=self.notes,
            batch_size=self.batch_size,
            adversarials=self._adversarials(),
            earlier=self.earlier,
        )

    def _save(self) -> None:
        now = time.perf_counter()
        self.saver.save(
            State(
                correct=pack_bits(self.correct),
                standing=pack_bits(self.standing),
                broken_by={name: pack_bits(broken) for name, broken in self.broken_by.items()},
                scores=tuple(self.scores),
                flags=self.flags,
                notes=self.notes,
                batch_size=self.batch_size,
                step=self.step,
                partial=None if self.partial is None else pack_bits(self.partial),
                generators=generator_states(self.images.device),
                gradients=(self.model.count.taken, self.model.count.broken),
                attack_seconds=0.0 if self.partial is None else self.attack_earlier + now - self.attack_started,
                seconds=self.earlier + now - self.started,
            )
        )

    def _attack(self, attack: Attack) -> None:
        """Run one attack on what stands; what it breaks, inside the budget, stands no longer."""
        self.attack_started, chosen = time.perf_counter(), self.standing.nonzero().flatten()
        broken = torch.zeros_like(self.standing)
        if len(chosen):
            broken[chosen] = self._resumable(attack.name, chosen, lambda some: self._breaks(attack, some, self.kept))
        self.broken_by[attack.name] = broken
        self.standing &= ~broken
        self.scores.append(
            AttackScore(
                attack=attack.name,
                parameters={**attack.parameters, "norm": self.norm.name, "eps": self.eps, "seed": self.seed},
                n=len(chosen),
                broken=int(broken.sum()),
                robust_accuracy=int(self.standing.sum()) / len(self.images),
                seconds=self.attack_earlier + time.perf_counter() - self.attack_started,
            )
        )
        self.attack_earlier = 0.0

    def _breaks(self, attack: Attack, some: Tensor, keep: list[tuple[str, Part]] | None = None) -> Tensor:
        """Which of these samples the attack breaks, on the logits and, where they are squashed, on the outputs."""
        broken = self._breaks_on(self._network(attack, some), attack, some, keep)
        if isinstance(self.target, Unsquashed) and self.target.bends and not broken.all() and attack.name != "square":
            left = (~broken).nonzero().flatten()
            broken[left] = self._breaks_on(self.model, attack, some[left], keep)
        return broken

    def _network(self, attack: Attack, some: Tensor) -> nn.Module:
        return self.attacked.network(len(some) * attack.parameters.get("steps", 1000))

    def _breaks_on(self, model: nn.Module, attack: Attack, some: Tensor, keep: list[tuple[str, Part]] | None) -> Tensor:
        """Which of these samples the attack breaks: misclassified again, and the budget kept. Adds them to ``keep``."""
        images, labels = self.images[some], self.labels[some]
        if attack.engine == "gradient":
            adversarials = self._gradient_attack(model, attack, images, labels, some)
        else:
            adversarials = run_autoattack(model, attack, images, labels, norm=self.norm, eps=self.eps, seed=self.seed)
        logits = self._forward_images(adversarials)
        if self.attacked.astray(adversarials, logits):
            self.notes.append(ITSELF)
            return self._breaks_on(self._network(attack, some), attack, some, keep)
        predicted = logits.argmax(1)
        wrong = predicted != labels
        kept = self.norm.within_budget(adversarials, images, self.eps)
        if (wrong & ~kept).any():
            self.flags += [] if "out_of_budget" in self.flags else ["out_of_budget"]
            self.notes.append(f"{attack.name}: {int((wrong & ~kept).sum())} out of budget, not counted")
        if keep is not None:
            keep.append((attack.name, part_of(wrong & kept, some, adversarials, labels, predicted)))
        return wrong & kept

    def _adversarials(self) -> Adversarials | None:
        if self.kept is None:
            return None
        empty = part_of(torch.zeros_like(self.standing[:0]), self._all()[:0], self.images[:0], *2 * [self.labels[:0]])
        return Adversarials.join(self.kept, self.numbers.numpy(), empty)

    def _gradient_attack(
        self, model: nn.Module, attack: Attack, images: Tensor, labels: Tensor, some: Tensor
    ) -> Tensor:
        settings = attack.parameters
        if (known := self.first.fgsm(attack, some, self.eps)) is not None:
            return known
        start = None
        if settings["random_start"]:
            numbers = self.numbers[some.cpu()]
            start = self.norm.random_start(numbers, images, self.eps, seed=self.seed, name=attack.name)
        return pgd(
            model,
            images,
            (cross_entropy if settings["loss"] == "ce" else margin)(labels),
            norm=self.norm,
            eps=self.eps,
            steps=settings["steps"],
            step_size=settings["step_fraction"] * self.eps,
            start=start,
            labels=labels,
            together=not self.attacked.steady,
        )

    def _compare_steps(self, attacks: tuple[Attack, ...]) -> None:
        """PGD-20 on what FGSM broke, outside the cascade: more steps must not break fewer points."""
        pgd_20 = next((attack for attack in attacks if attack.name == "pgd-20"), None)
        fgsm = self.broken_by.get("fgsm")
        if pgd_20 is None or fgsm is None or not fgsm.any():
            return
        chosen = fgsm.nonzero().flatten()
        again = self._resumable("pgd-20, for flags", chosen, lambda some: self._breaks(pgd_20, some))
        only_fgsm, only_pgd = int((~again).sum()), int(self.broken_by["pgd-20"].sum())
        self._found(flags.steps_finding(only_fgsm, only_pgd, len(self.images)))

    def _found(self, finding: tuple[list[str], list[str]]) -> None:
        self.flags += finding[0]
        self.notes += finding[1]

    def _all(self) -> Tensor:
        return torch.arange(len(self.images), device=self.images.device)

    def _forward(self, some: Tensor) -> Tensor:
        return self._forward_images(self.images[some])

    def _forward_images(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.model(images.clone())  # it may work in place
        return logits

    def _resumable(self, name: str, chosen: Tensor, verdicts: Callable[[Tensor], Tensor]) -> Tensor:
        """``verdicts`` in batches, on from where an earlier attempt was, if it was in here."""
        before = self.standing[:0] if self.partial is None else self.partial
        found = self._in_batches(name, chosen, verdicts, [before])
        self.partial = None
        return found

    def _in_batches(
        self, name: str, chosen: Tensor, function: Callable[[Tensor], Tensor], before: list[Tensor] | None = None
    ) -> Tensor:
        """``function`` of each batch of sample numbers, joined; the batch is halved where memory runs out.

        With ``before``, the results of the first of them, the state is saved between two batches now and then.
        """
        results = before or []
        done = sum(map(len, results))
        self.progress(name, done, len(chosen))
        while done < len(chosen):
            try:
                results.append(function(chosen[done : done + self.batch_size]))
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
                self.notes.append(f"out of memory: batch size {self.batch_size} from {name} on")
                continue
            done += self.batch_size
            self.progress(name, min(done, len(chosen)), len(chosen))
            if before is not None and done < len(chosen) and self.saver.due():
                self.partial = torch.cat(results)
                self._save()
        return torch.cat(results)

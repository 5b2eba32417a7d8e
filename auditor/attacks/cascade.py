"""The cascade: each attack runs only on the samples that all earlier ones left standing (worst case per sample)."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.attacks import flags
from auditor.attacks.adversarials import Adversarials, Part
from auditor.attacks.autoattack import adapt_to_classes, run_autoattack
from auditor.attacks.gradient import cross_entropy, margin, pgd, within_budget
from auditor.attacks.noise import start_noise
from auditor.attacks.protocols import Attack, for_randomized
from auditor.errors import InputError
from auditor.records import AttackScore
from auditor.statistics import wilson_interval

Progress = Callable[[str, int, int], None]
"""Called with the attack's name, the samples it is done with, and how many it has."""


@dataclass(frozen=True)
class RobustnessResult:
    """What a cascade found on N samples.

    Attributes:
        clean_accuracy, robust_accuracy: fractions; the robust one is the per-sample worst case of all attacks run.
        low, high: 95 % Wilson interval of ``robust_accuracy``.
        attacks: in the order in which they ran.
        correct, survived: ``(N,)`` bool, on the CPU.
        logits: ``(N, K)`` on the clean images, on the CPU.
        flags: why the result should not be ranked; ``notes``: what a reader should know besides.
        batch_size: the one used in the end; halved when memory ran out.
        adversarials: what broke the samples, where it was asked for.
    """

    clean_accuracy: float
    robust_accuracy: float
    low: float
    high: float
    attacks: list[AttackScore]
    correct: Tensor
    survived: Tensor
    logits: Tensor
    flags: list[str]
    notes: list[str]
    batch_size: int
    adversarials: Adversarials | None = None


class Cascade:
    """The state of one evaluation: what still stands, and what was found on the way."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        numbers: Tensor,
        norm: str,
        eps: float,
        batch_size: int,
        seed: int,
        progress: Progress,
        keep: bool,
    ) -> None:
        self.model, self.images, self.labels, self.numbers = model, images, labels, numbers
        self.norm, self.eps, self.batch_size, self.seed = norm, eps, batch_size, seed
        self.progress = progress
        self.kept: list[tuple[str, Part]] | None = [] if keep else None
        self.scores: list[AttackScore] = []
        self.broken_by: dict[str, Tensor] = {}
        self.flags: list[str] = []
        self.notes: list[str] = []

    def look(self) -> None:
        """Clean logits, and what they and their gradients say of the model itself."""
        self.logits = self._in_batches("clean", self._all(), self._forward)
        if self.logits.ndim != 2 or not torch.isfinite(self.logits).all():
            raise InputError(f"expected finite logits (N, K), the model gives {tuple(self.logits.shape)}")
        classes = self.logits.shape[1]
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < classes:
            low, high = int(self.labels.min()), int(self.labels.max())
            raise InputError(f"expected labels from 0 to {classes - 1}, got {low} to {high}")
        self.correct = self.logits.argmax(1) == self.labels
        self.standing = self.correct.clone()
        first = self._all()[: self.batch_size]
        with torch.enable_grad():
            probe = self.images[:1].clone().requires_grad_()
            self.differentiable = bool(self.model(probe.clone()).requires_grad)
        self.flags += flags.output_flags(self.model, self.images[first], self.logits[first])
        chosen = self.correct.nonzero().flatten()
        if len(chosen):
            zeros = int(self._in_batches("gradients", chosen, self._zero_gradients).sum())
            self._found(flags.zero_gradient_finding(zeros, len(chosen)))

    def run(self, attacks: tuple[Attack, ...]) -> None:
        randomized = "randomized" in self.flags
        if randomized:
            attacks = for_randomized(attacks)
            self.notes.append("randomized: attacked with AutoAttack's rand version (EOT over 20 passes)")
        for attack in attacks:
            adapted, note = adapt_to_classes(attack, self.logits.shape[1])
            self.notes += [note] if note else []
            if adapted and not self.differentiable and adapted.engine == "autoattack" and adapted.name != "square":
                self.notes.append(f"{adapted.name} left out: the model passes no gradient to its input")
            elif adapted:
                self._attack(adapted)
        self._compare_steps(attacks)
        if "square" in self.broken_by:
            self._found(flags.square_finding(int(self.broken_by["square"].sum()), len(self.images)))

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
        )

    def _attack(self, attack: Attack) -> None:
        """Run one attack on what stands; what it breaks, inside the budget, stands no longer."""
        started, chosen = time.perf_counter(), self.standing.nonzero().flatten()
        broken = torch.zeros_like(self.standing)
        if len(chosen):
            broken[chosen] = self._in_batches(attack.name, chosen, lambda some: self._breaks(attack, some, self.kept))
        self.broken_by[attack.name] = broken
        self.standing &= ~broken
        self.scores.append(
            AttackScore(
                attack=attack.name,
                parameters={**attack.parameters, "norm": self.norm, "eps": self.eps, "seed": self.seed},
                n=len(chosen),
                broken=int(broken.sum()),
                robust_accuracy=int(self.standing.sum()) / len(self.images),
                seconds=time.perf_counter() - started,
            )
        )

    def _breaks(self, attack: Attack, some: Tensor, keep: list[tuple[str, Part]] | None = None) -> Tensor:
        """Which of these samples the attack breaks: misclassified again, and the budget kept. Adds them to ``keep``."""
        images, labels = self.images[some], self.labels[some]
        if attack.engine == "gradient":
            adversarials = self._gradient_attack(attack, images, labels, some)
        else:
            adversarials = run_autoattack(
                self.model, attack, images, labels, norm=self.norm, eps=self.eps, seed=self.seed
            )
        predicted = self._forward_images(adversarials).argmax(1)
        wrong = predicted != labels
        kept = within_budget(adversarials, images, norm=self.norm, eps=self.eps)
        if (wrong & ~kept).any():
            self.flags += [] if "out_of_budget" in self.flags else ["out_of_budget"]
            self.notes.append(f"{attack.name}: {int((wrong & ~kept).sum())} out of budget, not counted")
        if keep is not None:
            keep.append((attack.name, _part(wrong & kept, some, adversarials, labels, predicted)))
        return wrong & kept

    def _adversarials(self) -> Adversarials | None:
        if self.kept is None:
            return None
        empty = _part(torch.zeros_like(self.standing[:0]), self._all()[:0], self.images[:0], *2 * [self.labels[:0]])
        return Adversarials.join(self.kept, self.numbers.numpy(), empty)

    def _gradient_attack(self, attack: Attack, images: Tensor, labels: Tensor, some: Tensor) -> Tensor:
        settings = attack.parameters
        start = None
        if settings["random_start"]:
            start = start_noise(
                self.numbers[some.cpu()], images, norm=self.norm, eps=self.eps, seed=self.seed, name=attack.name
            )
        return pgd(
            self.model,
            images,
            (cross_entropy if settings["loss"] == "ce" else margin)(labels),
            norm=self.norm,
            eps=self.eps,
            steps=settings["steps"],
            step_size=settings["step_fraction"] * self.eps,
            start=start,
            labels=labels,
        )

    def _compare_steps(self, attacks: tuple[Attack, ...]) -> None:
        """PGD-20 on what FGSM broke, outside the cascade: more steps must not break fewer points."""
        pgd_20 = next((attack for attack in attacks if attack.name == "pgd-20"), None)
        fgsm = self.broken_by.get("fgsm")
        if pgd_20 is None or fgsm is None or not fgsm.any():
            return
        chosen = fgsm.nonzero().flatten()
        again = self._in_batches("pgd-20, for flags", chosen, lambda some: self._breaks(pgd_20, some))
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

    def _zero_gradients(self, some: Tensor) -> Tensor:
        return torch.tensor([flags.zero_gradients(self.model, self.images[some], self.labels[some])])

    def _in_batches(self, name: str, chosen: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """``function`` of each batch of sample numbers, joined; the batch is halved where memory runs out."""
        results, done = [], 0
        self.progress(name, 0, len(chosen))
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
        return torch.cat(results)


def _part(chosen: Tensor, positions: Tensor, images: Tensor, labels: Tensor, predicted: Tensor) -> Part:
    """The chosen samples of a batch, on the CPU."""
    tensors = {"positions": positions, "images": images, "labels": labels, "predicted": predicted}
    return {name: tensor[chosen].cpu().numpy() for name, tensor in tensors.items()}

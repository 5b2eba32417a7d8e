"""The cascade: each attack runs only on the samples that survived all earlier attacks (worst case per sample)."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from auditor.attacks import curve_search, flags, targeted, wrong_data
from auditor.attacks.adversarials import Adversarials, Part, select_part
from auditor.attacks.attack_copy import COPY_REJECTED, TOLERANCE
from auditor.attacks.autoattack import adapt_to_classes
from auditor.attacks.cascade_state import CascadeState
from auditor.attacks.gradient import cross_entropy
from auditor.attacks.protocols import EXTRA, PGD_20, Attack, for_randomized
from auditor.attacks.result import RobustnessResult
from auditor.attacks.selection import LeftOut, choose_size, is_in_reach, is_near, most_broken, order_far, summarize
from auditor.attacks.sequential import CHUNK, anytime_interval
from auditor.attacks.squashing import PROBES, choose_target, find_logits
from auditor.errors import InputError
from auditor.records import AttackScore
from auditor.records.curves import Curve
from auditor.records.targeted import TargetedScore
from auditor.statistics import wilson_interval
from auditor.text.numbers import counted
from auditor.tracing import part

UNBROKEN = -1
"""In place of a class, or of an attack: no attack broke the sample."""
ON_PARTS = ("fab-t", "square")
"""The attacks that may run on a part of the samples."""
RAND = "randomized: attacked with AutoAttack's rand version (EOT over 20 passes)"


class Cascade(CascadeState):
    """One evaluation: its attacks, in their order, and its checks.

    Call :meth:`inspect_model`, then :meth:`resume`, :meth:`run` and :meth:`result`.
    """

    def measure_sizes(self) -> None:
        """Measure the size of every adversarial image from here on, for :meth:`run_minimal`."""
        self.sizes = torch.full((len(self.images),), torch.inf, dtype=torch.float64, device=self.images.device)

    def inspect_model(self) -> None:
        """Clean logits, and what they and their gradients show about the model itself.

        Raises:
            InputError: the model gives NaN or infinite logits, or a label does not fit them.
        """
        self.model.choose_dtype(self.images[:1])
        asked = self.batch_size
        self.logits = self._map_batches("clean", self._all(), lambda samples: self._forward(self.images[samples]))
        finite = torch.isfinite(self.logits).all(1)
        if not finite.all():
            raise InputError(
                f"expected finite logits (N, K), the model gives NaN or infinite ones on {int((~finite).sum())} of "
                f"{len(finite)} clean images"
            )
        self._add(wrong_data.check_data(self.images, self.logits, self.labels))
        self.correct = self.logits.argmax(1) == self.labels
        self.survived = self.correct.clone()
        self.reached = torch.ones_like(self.correct)
        self.predicted = self.logits.argmax(1)
        self.broken_at = torch.full_like(self.predicted, UNBROKEN)
        self.flags += self._flag_outputs(asked)
        before = find_logits(self.model, self.images[:PROBES], self.logits.shape[1], self.batch_size)
        self._aim(choose_target(self.model, before, self.logits, without_gradients=False))
        zeros, correct = self._count_zero_gradients(), int(self.correct.sum())
        finding = flags.zero_gradient_finding(zeros, correct) if correct else ([], [])
        if finding[0] or not self.attacker.differentiable:
            self._aim(choose_target(self.model, before, self.logits, without_gradients=True))
            self._count_zero_gradients()
        self._add(finding)
        squashed = flags.squashing_finding(self.attacker.target, self.logits, before)
        self._add(squashed if "softmax_output" not in self.flags else ([], squashed[1]))

    def _flag_outputs(self, asked: int) -> list[str]:
        """The flags of more passes over the first batch, of a size that fits into memory.

        ``asked``: the size of the batches that the clean logits began with. Smaller ones get logits of their own: a
        model whose logits depend on the batch would seem to be randomized.
        """

        def check(part: slice) -> list[str]:
            images = self.images[self._all()[part]]
            logits = self.logits[part] if self.batch_size == asked else self._forward(images)
            return flags.output_flags(self.model, images, logits, self.images[: flags.ALONE])

        _, found = next(self._in_batches("repeated passes", check, len(self.images)))
        return found

    def _aim(self, target: nn.Module) -> None:
        reproducible = not {"randomized", "batch_dependent"} & set(self.flags)
        self.attacker.aim(target, self.logits[: self.batch_size], reproducible=reproducible)

    def _count_zero_gradients(self) -> int:
        """How many of the correctly classified samples have a gradient of exactly 0."""
        chosen = self.correct.nonzero().flatten()
        if not len(chosen):
            return 0
        return int(self._map_batches("gradients", chosen, self.attacker.zero_gradients).sum())

    def run(self, attacks: tuple[Attack, ...]) -> None:
        """Run the attacks that an earlier attempt has not finished."""
        if "randomized" in self.flags:
            attacks = for_randomized(attacks)
            self.notes += [] if RAND in self.notes else [RAND]
        sharing = [step for step, attack in enumerate(attacks) if "share" in attack.parameters]
        while self.step < len(attacks):
            if sharing and self.step == sharing[0] and not self.drawn:
                self._enlarge_part(attacks[self.step])
            self._run_step(attacks[self.step])
            self.step += 1
            if sharing and self.step == sharing[-1] + 1 and self._enlarge_part(attacks[self.step - 1]):
                self.step = sharing[0]
            self._save()

    def _run_step(self, attack: Attack) -> None:
        adapted, note = adapt_to_classes(attack, self.logits.shape[1])
        self.notes += [note] if note and note not in self.notes else []
        needs_gradients = adapted and adapted.engine not in ("gradient", *EXTRA) and adapted.name != "square"
        if adapted and needs_gradients and not self.attacker.differentiable:
            self.notes.append(f"{adapted.name} left out: the model passes no gradient to its input")
            self.attacker.lack.zero_()  # nothing says that a boundary is far
        elif adapted:
            with part(f"attack {adapted.name}", attack=adapted.name) as span:
                score = self._run_attack(adapted)
                span.set(images_in=score.n, images_out=score.n - score.broken, batch_size=self.batch_size)

    def run_until(self, attacks: tuple[Attack, ...], is_decided: Callable[[Tensor, Tensor], bool]) -> None:
        """Run all attacks on one chunk of samples after the other, in a random order of the seed, until it is decided,
        or no sample is left.

        ``is_decided`` is given which samples have survived so far, and which were reached, ``(N,)`` bool. The method
        neither saves nor resumes its state.
        """
        generator = torch.Generator().manual_seed(self.attacker.seed)
        order = torch.randperm(len(self.images), generator=generator).to(self.images.device)
        survived, self.reached = torch.zeros_like(self.correct), torch.zeros_like(self.correct)
        scores: list[AttackScore] = []
        broken_by: dict[str, Tensor] = {}
        for chunk in torch.split(order, CHUNK):
            self.reached[chunk] = True
            self.survived = torch.zeros_like(self.correct)
            self.survived[chunk] = self.correct[chunk]
            self.scores, self.broken_by, self.step = [], {}, 0
            self.run(attacks)
            survived |= self.survived
            scores = [_add_scores(*pair) for pair in zip(scores, self.scores, strict=True)] if scores else self.scores
            broken_by = {name: broken_by.get(name, False) | broken for name, broken in self.broken_by.items()}
            if is_decided(survived, self.reached):
                break
        self.survived, self.broken_by, self.notes = survived, broken_by, list(dict.fromkeys(self.notes))
        self.scores = self._restate(scores)

    def _restate(self, scores: list[AttackScore]) -> list[AttackScore]:
        """The scores, each with the robust accuracy after it and those before it."""
        standing, restated = int((self.correct & self.reached).sum()), []
        for score in scores:
            standing -= score.broken
            restated.append(replace(score, robust_accuracy=standing / self.attacked))
        return restated

    @property
    def attacked(self) -> int:
        """The number of samples that the attacks have reached."""
        return int(self.reached.sum())

    def check_masking(self, attacks: tuple[Attack, ...]) -> None:
        """The checks for gradient masking, after :meth:`run` or :meth:`run_until`."""
        self._compare_steps(attacks)
        if "square" in self.broken_by:
            self._add(flags.square_finding(int(self.broken_by["square"].sum()), self.attacked))
        self._bound_left_out(attacks)
        self._check_vanishing()
        self._add(flags.nonfinite_finding(self.model.count.nonfinite, self.model.count.taken))

    def _compare_steps(self, attacks: tuple[Attack, ...]) -> None:
        """PGD-20 on what FGSM broke, outside the cascade: more steps must not break fewer points."""
        pgd_20 = next((attack for attack in attacks if attack.name == "pgd-20"), None)
        fgsm = self.broken_by.get("fgsm")
        if pgd_20 is None or fgsm is None or not fgsm.any():
            return
        chosen = fgsm.nonzero().flatten()
        broken = self._map_resumable("pgd-20, for flags", chosen, lambda samples: self._break(pgd_20, samples)) >= 0
        only_fgsm, only_pgd = int((~broken).sum()), int(self.broken_by["pgd-20"].sum())
        self._add(flags.steps_finding(only_fgsm, only_pgd, self.attacked))

    def _check_vanishing(self) -> None:
        """PGD-20 on rescaled logits, outside the cascade, if float32 rounds many losses to exactly 0."""
        chosen = self.survived.nonzero().flatten()
        loss = cross_entropy(self.labels)(self.logits.float())[self.correct]
        if self.attacker.target is not self.model or "zero_gradients" in self.flags or not len(chosen):
            return
        if float((loss == 0).float().mean()) > flags.ZERO_GRADIENT_SHARE:
            self.attacker.aim_at_rescaled_outputs(self.logits)
            broken = self._map_batches("pgd-20, for flags", chosen, lambda samples: self._break(PGD_20, samples)) >= 0
            self._add(flags.vanishing_finding(int(broken.sum()), self.attacked))

    def run_minimal(self) -> None:
        """Search for the smallest perturbation of each correctly classified sample, if sizes are measured.

        It runs before the checks for masking, whose notes are not part of a saved state, and changes nothing of them.
        """
        if self.sizes is None:
            return
        if not self.attacker.copy.reproducible or {"randomized", "batch_dependent"} & set(self.flags):
            self.notes.append("curve left out: the model passes no gradient, or its logits are not reproducible")
            return
        self.attack_started, chosen = time.perf_counter(), self.correct.nonzero().flatten()
        name = curve_search.search_name(self.attacker.norm)
        if self.nearest is None:
            nearest = torch.zeros_like(self.correct)
            if len(chosen):
                with part(f"attack {name}", attack=name, images_in=len(chosen)):
                    nearest[chosen] = self._map_resumable(name, chosen, self._find_nearest) > 0
            self.nearest = nearest
        largest = curve_search.largest_radius(self.attacker.norm, self.attacker.eps)
        sizes = self.sizes.where(self.sizes <= largest * (1 + 1e-5), torch.inf).where(self.correct, 0.0)
        self.curve = Curve(
            norm=self.attacker.norm.name,
            largest=largest,
            sizes=sizes.float().cpu().numpy(),
            found_by=self.broken_at.where(~self.nearest, len(self.scores)).where(sizes.isfinite(), -1).cpu().numpy(),
            attacks=(*(score.attack for score in self.scores), name),
            seconds=self.attack_earlier + time.perf_counter() - self.attack_started,
        )
        self.attack_earlier = 0.0
        broken = torch.from_numpy(self.curve.broken_within(self.attacker.eps))
        further = int((self.survived.cpu() & broken).sum())
        if further:
            self.notes.append(
                f"the curve breaks {counted(further, 'sample')} within eps that the protocol did not; the robust "
                "accuracy is the protocol's"
            )
        self._save()

    def _find_nearest(self, samples: Tensor) -> Tensor:
        """``(M,)`` int64: 1 where the search found a nearer adversarial image than the cascade; keeps its size."""
        assert self.sizes is not None
        attacker, taken, nonfinite = self.attacker, self.model.count.taken, self.model.count.nonfinite
        images, labels, known = self.images[samples], self.labels[samples], self.sizes[samples]
        search = curve_search.MinimalSearch(
            attacker.copy.choose_network(curve_search.most_passes(len(samples), attacker.norm)),
            self.model,
            images,
            labels,
            attacker.numbers[samples.cpu()],
            norm=attacker.norm,
            largest=curve_search.largest_radius(attacker.norm, attacker.eps),
            known=known,
            seed=attacker.seed,
        )
        search.run(curve_search.search_settings(attacker.norm))
        sizes = curve_search.check_sizes(self.model, images, labels, search.found, attacker.norm)
        self.model.count.taken, self.model.count.nonfinite = taken, nonfinite  # flags are about the cascade
        nearer = sizes < known
        self.sizes[samples] = torch.minimum(sizes, known)
        return nearer.long()

    def run_targeted(self, families: Tensor) -> None:
        """Attack the correctly classified samples towards classes of their own superclass, and of others.

        ``families``: ``(K,)`` the superclass of each class. It changes no verdict of the cascade.
        """
        if not self.attacker.differentiable:
            self.notes.append(f"{targeted.NAME} left out: the model passes no gradient to its input")
            return
        attack = targeted.TargetedAttack(self.attacker, self.logits, families.to(self.labels.device))
        chosen = self.correct.nonzero().flatten()
        broken = self.correct.new_zeros(0, 2)
        if len(chosen):
            with part(f"attack {targeted.NAME}", attack=targeted.NAME, images_in=len(chosen)):
                broken = self._map_batches(targeted.NAME, chosen, attack.break_samples)
        if missed := int((broken.any(1) & self.survived[chosen]).sum()):
            self.notes.append(
                f"targeted attacks broke {counted(missed, 'sample')} that survived the cascade; they do not count"
            )
        inside = attack.inside[chosen]
        self.targeted = TargetedScore(
            targets=attack.targets.shape[1],
            n=len(chosen),
            within_n=int(inside.any(1).sum()),
            within=int(broken[:, 0].sum()),
            across_n=int((~inside).any(1).sum()),
            across=int(broken[:, 1].sum()),
        )

    def result(self) -> RobustnessResult:
        """The scores, flags and notes of all attacks that ran."""
        n, survivors, kept = self.attacked, int(self.survived.sum()), self.reached
        early = n < len(self.images)
        low, high = anytime_interval(survivors, n) if early else wilson_interval(survivors, n)
        return RobustnessResult(
            clean_accuracy=int((self.correct & kept).sum()) / n,
            robust_accuracy=survivors / n,
            low=low,
            high=high,
            attacks=self.scores,
            correct=self.correct[kept].cpu(),
            survived=self.survived[kept].cpu(),
            predicted=self.predicted[kept].cpu(),
            broken_at=self.broken_at[kept].cpu(),
            logits=self.logits[kept].cpu(),
            positions=kept.nonzero().flatten().cpu(),
            flags=self.flags,
            notes=self.notes,
            batch_size=self.batch_size,
            adversarials=self._join_adversarials(),
            earlier=self.earlier,
            targeted=self.targeted,
            left_out=self.left_out,
            curve=self.curve,
            lack=self.attacker.lack[kept].cpu(),
        )

    def _run_attack(self, attack: Attack) -> AttackScore:
        """Run one attack on the survivors, and return its score; a sample that it breaks survives no longer.

        An attack that has run before, on a smaller random part, adds to its score.
        """
        self.attack_started, chosen = time.perf_counter(), self._select(attack).nonzero().flatten()
        names = [score.attack for score in self.scores]
        again = "share" in attack.parameters and len(self.drawn) > 1
        position = names.index(attack.name) if again else len(names)
        broken = torch.zeros_like(self.survived)
        if len(chosen):
            classes = self._map_resumable(attack.name, chosen, lambda samples: self._break(attack, samples, self.parts))
            broken[chosen] = classes >= 0
            self.predicted[broken] = classes[classes >= 0]
            self.broken_at[broken] = position
        self.broken_by[attack.name] = broken | self.broken_by.get(attack.name, broken)
        self.survived &= ~broken
        budget = {"norm": self.attacker.norm.name, "eps": self.attacker.eps, "seed": self.attacker.seed}
        score = AttackScore(
            attack=attack.name,
            parameters={**attack.parameters, **budget},
            n=len(chosen),
            broken=int(broken.sum()),
            robust_accuracy=int(self.survived.sum()) / len(self.images),
            seconds=self.attack_earlier + time.perf_counter() - self.attack_started,
        )
        self.attack_earlier = 0.0
        if again:
            self.scores[position] = _add_scores(self.scores[position], score)
            self.scores = self._restate(self.scores)
        else:
            self.scores.append(score)
        return score

    def _select(self, attack: Attack) -> Tensor:
        """``(N,)`` bool: the survivors that the attack runs on. A batch of it changes no other sample's selection.

        An attack that shares the random part runs on the samples near the boundary and on the part; once the part has
        grown, on what was added to it.
        """
        near, part = is_in_reach(attack.parameters, self.attacker.lack), torch.zeros_like(self.survived)
        if "share" not in attack.parameters:
            return self.survived & near
        earlier = self.drawn[-2] if len(self.drawn) > 1 else 0
        part[self._order_far(attack)[earlier : self.drawn[-1]]] = True
        return self.survived & (part & ~near if earlier else part | near)

    def _order_far(self, attack: Attack) -> Tensor:
        """The positions of the samples far from the boundary, in random order; the same for all attacks on the part.

        What these attacks have broken already is among them.
        """
        attacker = self.attacker
        far = self._reached_by_parts() & ~is_near(attack.parameters, attacker.lack)
        return order_far(attacker.numbers, attacker.seed, far)

    def _enlarge_part(self, attack: Attack) -> bool:
        """Draw the random part, or more of it if too much was broken in it; whether it has grown."""
        far, drawn = self._order_far(attack), self.drawn[-1] if self.drawn else 0
        broken = int(self._broken_by_parts()[far[:drawn]].sum())
        size = choose_size(attack.parameters, len(far), self.attacked, broken, drawn)
        if grows := not self.drawn or size > drawn:
            self.drawn = [*self.drawn, size]
        return grows

    def _broken_by_parts(self) -> Tensor:
        """``(N,)`` bool: what the attacks that run on a part of the samples have broken."""
        broken = torch.zeros_like(self.survived)
        for name in ON_PARTS:
            broken |= self.broken_by.get(name, torch.zeros_like(broken))
        return broken

    def _reached_by_parts(self) -> Tensor:
        """``(N,)`` bool: what had survived when the first of these attacks began."""
        reached, began = self.survived.clone(), False
        for name, broken in self.broken_by.items():  # in the order of the cascade
            began = began or name in ON_PARTS
            reached |= broken & began
        return reached

    def _bound_left_out(self, attacks: tuple[Attack, ...]) -> None:
        """Note what the attacks on a random part of the samples say about those that they left out."""
        partial = [attack for attack in attacks if "share" in attack.parameters and attack.name in self.broken_by]
        if not partial:
            return
        order, broken = self._order_far(partial[0]), self._broken_by_parts()
        part, rest = order[: self.drawn[-1]], len(order[self.drawn[-1] :])
        drawn, seen, near = len(part), int(broken[part].sum()), int(self._reached_by_parts().sum()) - len(order)
        names = " and ".join(attack.name for attack in partial)
        self.left_out = LeftOut(near, drawn, seen, rest, most_broken(drawn, seen, rest))
        if rest:
            self.notes.append(summarize(self.left_out, names, int(self.survived.sum()), len(self.images)))
        elif seen:
            self.notes.append(f"{names} ran on all samples: they broke {seen} of {drawn} far from the boundary")

    def _break(self, attack: Attack, samples: Tensor, parts: list[tuple[str, Part]] | None = None) -> Tensor:
        """Attack samples on the logits and, if these are squashed, on the outputs; as :meth:`_break_on`."""
        classes = self._break_on(self.attacker.choose_network(attack, len(samples)), attack, samples, parts)
        if self.attacker.also_attacks_outputs(attack) and (classes == UNBROKEN).any():
            rest = (classes == UNBROKEN).nonzero().flatten()
            classes[rest] = self._break_on(self.model, attack, samples[rest], parts)
        return classes

    def _break_on(
        self, network: nn.Module, attack: Attack, samples: Tensor, parts: list[tuple[str, Part]] | None
    ) -> Tensor:
        """``(M,)`` int64: the class of each adversarial image that breaks its sample, else ``UNBROKEN``.

        It breaks it if the model misclassifies it, and it keeps the budget. Appends these images to ``parts``.
        """
        images, labels = self.images[samples], self.labels[samples]
        adversarials = self.attacker.craft(network, attack, samples)
        logits = self._forward(adversarials)
        if attack.engine == "own" and self.attacker.reproducible:
            self._check_clean_logits(attack, samples)
        if self.attacker.copy.reject_if_different(adversarials, logits):
            self.notes.append(COPY_REJECTED)
            return self._break_on(self.attacker.choose_network(attack, len(samples)), attack, samples, parts)
        predicted = self._decide(attack, logits, labels)
        wrong = predicted != labels
        within = self.attacker.norm.within_budget(adversarials, images, self.attacker.eps)
        if (wrong & ~within).any():
            self.flags += [] if "out_of_budget" in self.flags else ["out_of_budget"]
            self.notes.append(f"{attack.name}: {int((wrong & ~within).sum())} out of budget, not counted")
        if self.sizes is not None:
            sizes = self.attacker.norm.size(adversarials.double() - images.double()).flatten()
            self.sizes[samples] = torch.minimum(self.sizes[samples], sizes.where(wrong & within, torch.inf))
        if parts is not None:
            parts.append((attack.name, select_part(wrong & within, samples, adversarials, labels, predicted)))
        return predicted.where(wrong & within, UNBROKEN)

    def _decide(self, attack: Attack, logits: Tensor, labels: Tensor) -> Tensor:
        """``(M,)`` the classes of adversarial images; where the model gives NaN, another class than the label."""
        predicted, undecided = logits.argmax(1), logits.isnan().any(1)
        if undecided.any():
            note = f"{attack.name}: the model gives NaN on adversarial images, which count as misclassified"
            self.notes += [] if note in self.notes else [note]
        return predicted.where(~undecided | (predicted != labels), (labels + 1) % logits.shape[1])

    def _check_clean_logits(self, attack: Attack, samples: Tensor) -> None:
        """Raise InputError if the model answers otherwise than before an own attack, whatever that has changed."""
        shift = flags.logit_shift(self._forward(self.images[samples]), self.logits[samples])
        if (shift > TOLERANCE).any():
            raise InputError(
                f"{attack.name} changed what the model answers to clean images: work on a copy, copy.deepcopy(model)"
            )

    def _join_adversarials(self) -> Adversarials | None:
        if self.parts is None:
            return None
        none, labels = self.survived[:0], self.labels[:0]
        empty = select_part(none, self._all()[:0], self.images[:0], labels, labels)
        return Adversarials.join(self.parts, self.attacker.numbers.numpy(), empty)

    def _add(self, finding: flags.Finding) -> None:
        self.flags += finding[0]
        self.notes += finding[1]


def _add_scores(first: AttackScore, second: AttackScore) -> AttackScore:
    """The score of one attack on the samples of both scores."""
    return replace(
        first, n=first.n + second.n, broken=first.broken + second.broken, seconds=first.seconds + second.seconds
    )

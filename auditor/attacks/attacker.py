"""Makes adversarial candidates: on the model, on its logits before they are squashed, or on a faster copy of it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from auditor.attacks.attack_copy import AttackCopy
from auditor.attacks.autoattack import run_autoattack
from auditor.attacks.classifier import Classifier
from auditor.attacks.clean_gradients import FirstStep
from auditor.attacks.gradient import LOSSES, pgd
from auditor.attacks.mixed_precision import MixedPrecision
from auditor.attacks.norms import Norm
from auditor.attacks.own import OwnAttack, run_own
from auditor.attacks.protocols import EXTRA, Attack
from auditor.attacks.search import Search
from auditor.attacks.squashing import Unsquashed, rescale_outputs
from auditor.attacks.transfer import craft_on


class Attacker:
    """Attacks samples of one evaluation, chosen by their position. Call :meth:`aim` before any attack.

    Args:
        model: in eval mode, parameters without gradients.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        numbers: ``(N,)`` on the CPU; random starts are drawn by these.
        norm, eps: the budget.
        seed: the seed for every random draw.
        own: own attacks, by name.
        others: models on which adversarials are made, by name; in eval mode, parameters without gradients.

    Attributes:
        target: what is attacked: the model, or its logits before an operation squashes them.
        reproducible: whether the model gives an image the same logits every time and in any batch.
        differentiable: whether the target passes gradients to its input.
        copy: the target, or a faster copy of it.
        lack: ``(N,)`` float64, what each sample lacks to the boundary, as the search has measured it; see
            :mod:`auditor.attacks.search`.
    """

    target: nn.Module
    reproducible: bool
    differentiable: bool
    copy: AttackCopy

    def __init__(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        numbers: Tensor,
        norm: Norm,
        eps: float,
        seed: int,
        own: Mapping[str, OwnAttack] | None = None,
        others: Mapping[str, Classifier] | None = None,
    ) -> None:
        self.model, self.images, self.labels, self.numbers = model, images, labels, numbers
        self.norm, self.eps, self.seed = norm, eps, seed
        self.own, self.others = own or {}, others or {}
        self.lack = torch.full((len(images),), torch.inf, dtype=torch.float64, device=images.device)

    def aim(self, target: nn.Module, logits: Tensor, *, reproducible: bool) -> None:
        """Attack this from here on.

        Args:
            target: what :func:`auditor.attacks.squashing.choose_target` chose.
            logits: ``(M, K)``, what the model gives for the first M images.
            reproducible: whether the model gives an image the same logits every time and in any batch.
        """
        if target is getattr(self, "target", None):
            return
        self.reproducible = reproducible
        self.target, first = target, torch.arange(len(logits), device=logits.device)
        with torch.enable_grad():
            probe = self.images[:1].clone().requires_grad_()
            self.differentiable = bool(target(probe.clone()).requires_grad)
        reproducible = reproducible and self.differentiable
        self.copy = AttackCopy(target, reproducible, self.images[first], self.labels[first], logits)
        if target is not self.model:
            self.copy.use_model()
        self.first_step = FirstStep(self.images, self.labels, self.norm, reproducible)

    def aim_at_rescaled_outputs(self, logits: Tensor) -> None:
        """Attack the model's outputs times a factor that gives them the usual spread; ``logits (N, K)``."""
        rescaled = rescale_outputs(self.model, logits)
        self.copy = AttackCopy(rescaled, False, self.images, self.labels, logits)

    def zero_gradients(self, samples: Tensor) -> Tensor:
        """``(M,)`` bool: which of these samples have a cross-entropy gradient of exactly 0 in every pixel."""
        return self.first_step.zero_gradients(self.target, samples)

    def choose_network(self, attack: Attack, count: int) -> nn.Module:
        """What the attack runs on for so many samples."""
        if attack.engine in EXTRA:
            return self.model
        settings = attack.parameters
        steps = settings["iterations"] if attack.engine == "search" else settings.get("steps", 1000)
        return self.copy.choose_network(count * steps)

    def also_attacks_outputs(self, attack: Attack) -> bool:
        """Whether the attack runs a second time, on the outputs: they differ from the logits in more than a factor."""
        nonlinear = isinstance(self.target, Unsquashed) and self.target.is_nonlinear
        return nonlinear and attack.name != "square" and attack.engine not in EXTRA

    def craft(self, network: nn.Module, attack: Attack, samples: Tensor) -> Tensor:
        """Adversarial candidates ``(M, C, H, W)`` for these samples; a candidate may fail to break its sample."""
        images, labels, settings = self.images[samples], self.labels[samples], attack.parameters
        if attack.engine == "autoattack":
            return run_autoattack(
                network,
                attack,
                images,
                labels,
                norm=self.norm,
                eps=self.eps,
                seed=self.seed,
                numbers=self.numbers[samples.cpu()],
            )
        if attack.engine == "search":
            return self._search(network, attack, samples)
        if attack.engine in EXTRA:
            return self._craft_extra(attack, samples)
        if (known := self.first_step.fgsm(attack, samples, self.eps)) is not None:
            return known
        start = None
        if settings["random_start"]:
            numbers = self.numbers[samples.cpu()]
            start = self.norm.random_start(numbers, images, self.eps, seed=self.seed, name=attack.name)
        return pgd(
            network,
            images,
            LOSSES[settings["loss"]](labels),
            norm=self.norm,
            eps=self.eps,
            steps=settings["steps"],
            step_size=settings["step_fraction"] * self.eps,
            start=start,
            labels=labels,
            together=not self.copy.reproducible,
        )

    def _craft_extra(self, attack: Attack, samples: Tensor) -> Tensor:
        images, labels, numbers = self.images[samples], self.labels[samples], self.numbers[samples.cpu()]
        if attack.engine == "transfer":
            other = self.others[attack.parameters["model"]]
            return craft_on(other, attack, images, labels, numbers, norm=self.norm, eps=self.eps, seed=self.seed)
        return run_own(
            self.own[attack.name],
            attack.name,
            self.model,
            images,
            labels,
            numbers=numbers,
            norm=self.norm.name,
            eps=self.eps,
            seed=self.seed,
        )

    def _search(self, network: nn.Module, attack: Attack, samples: Tensor) -> Tensor:
        search = Search(
            network,
            self.images[samples],
            self.labels[samples],
            self.numbers[samples.cpu()],
            norm=self.norm,
            eps=self.eps,
            seed=self.seed,
            together=not self.copy.reproducible,
            mixed=self._mixed(network, attack),
        )
        search.run(attack.parameters)
        self.lack[samples] = torch.minimum(self.lack[samples], search.lack)
        return search.found

    def _mixed(self, network: nn.Module, attack: Attack) -> nn.Module | None:
        """The network in mixed precision, if the attack asks for it and the logits do not depend on the batch."""
        if "precision" not in attack.parameters or not self.copy.reproducible:
            return None
        return MixedPrecision(network)

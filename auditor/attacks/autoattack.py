"""AutoAttack's four attacks, from pyautoattack, one at a time and with as many targets as there are classes.

pyautoattack is AutoAttack itself (Croce and Hein, 2020), as RobustBench runs it. Only its attack classes are used: its
evaluation loop prints warnings and writes a state file.
"""

import logging
from collections.abc import Callable

import torch
from pyautoattack import AutoAttack
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from auditor.attacks.fab import LinfFab
from auditor.attacks.norms import Norm
from auditor.attacks.protocols import Attack
from auditor.attacks.square import LinfSquare, SampleSquare, SampleSquareL2
from auditor.user_code.exceptions import raise_as_input_errors


def adapt_to_classes(attack: Attack, classes: int) -> tuple[Attack | None, str | None]:
    """The attack as it can run on this many classes, and a note if that deviates from the protocol.

    Targets are capped at K - 1. The targeted DLR loss needs K >= 4 and the untargeted one K >= 3. With fewer classes
    the next weaker loss replaces it; if that loss has run already, the attack is left out and None is returned.
    """
    if attack.name == "apgd-t" and classes < 4:
        if classes < 3:
            return None, "apgd-t left out: the DLR loss needs at least 3 classes (CE and margin losses did run)"
        untargeted = {key: value for key, value in attack.parameters.items() if key != "targets"}
        note = "apgd-dlr instead of apgd-t: the targeted DLR loss needs at least 4 classes"
        return Attack("apgd-dlr", attack.engine, untargeted), note
    if attack.name == "apgd-dlr" and classes < 3:
        return None, "apgd-dlr left out: the DLR loss needs at least 3 classes"
    targets = attack.parameters.get("targets", 0)
    if targets > classes - 1:
        capped = Attack(attack.name, attack.engine, {**attack.parameters, "targets": classes - 1})
        return capped, f"{attack.name} with {classes - 1} targets instead of {targets}: {classes} classes"
    return attack, None


def run_autoattack(
    model: nn.Module,
    attack: Attack,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    eps: float,
    seed: int,
    numbers: Tensor | None = None,
) -> Tensor:
    """Adversarial candidates ``(N, C, H, W)``; a candidate may fail to break its sample.

    Draws noise by batch, from ``seed``, and works in float32. The caller forks torch's generators. An attack whose
    parameter ``draws`` is ``sample`` draws by ``numbers``, ``(N,)``, instead.
    """
    suite = AutoAttack(_in_float32(model, images.dtype), norm=norm.name, eps=eps, seed=seed, device=images.device)
    if norm.name in _FASTER:
        suite.fab.__class__, suite.square.__class__ = _FASTER[norm.name]  # keeps the suite's settings
    for part in (suite.apgd, suite.apgd_targeted, suite.fab, suite.square):
        part.seed = seed
    for part in (suite.apgd, suite.apgd_targeted):
        part.logger = _SILENT
    perturb = _attack_of(suite, attack)
    if attack.parameters.get("draws") == "sample":
        assert numbers is not None
        perturb = _by_sample(suite.square, perturb, numbers)
    with torch.no_grad(), raise_as_input_errors(f"the attack {attack.name} on the model"):
        adversarials: Tensor = perturb(images.float().clone(), labels.clone())
    return _finite_or(images, adversarials)


def fab_towards(model: nn.Module, images: Tensor, labels: Tensor, *, norm: Norm, rank: int, iterations: int) -> Tensor:
    """The nearest misclassified points ``(N, C, H, W)`` that FAB finds on its way to one wrong class; else the images.

    FAB minimizes the size of a perturbation, in no ball. It draws nothing, so the batch makes no difference.

    Args:
        model: in eval mode, parameters without gradients.
        images, labels: ``(N, C, H, W)`` in [0, 1], ``(N,)``.
        norm: which sizes are minimized.
        rank: of the target class among the wrong classes by their logits; 0 is the highest.
        iterations: gradients per sample.
    """
    kind = _FASTER[norm.name][0] if norm.name in _FASTER else FABAttack_PT
    fab = kind(_in_float32(model, images.dtype), norm=norm.name, n_iter=iterations, device=images.device)
    fab.target_class = 2 + rank  # 1 is the class that the model predicts
    with torch.no_grad(), raise_as_input_errors("the attack fab-t on the model"):
        found = fab.attack_single_run(images.float().clone(), labels.clone(), is_targeted=True)
    return _finite_or(images, found)


def _in_float32(model: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The model as pyautoattack calls it: float32 in and out, and ``dtype`` inside."""

    def logits(x: Tensor) -> Tensor:
        output: Tensor = model(x.to(dtype, copy=True))
        return output.float()

    return logits


def _finite_or(images: Tensor, found: Tensor) -> Tensor:
    """The found images, in the dtype of the clean ones, which replace those that a zero gradient has made NaN."""
    finite = torch.isfinite(found).flatten(1).all(1).view(-1, 1, 1, 1)
    return torch.where(finite, found.detach(), images).to(images.dtype)


def _by_sample(
    square: SquareAttack, perturb: Callable[[Tensor, Tensor], Tensor], numbers: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Square with draws by sample: by their numbers, or in L1 on one sample at a time."""
    if square.norm not in _BY_SAMPLE:
        return lambda images, labels: torch.cat(
            [perturb(*one) for one in zip(torch.split(images, 1), torch.split(labels, 1), strict=True)]
        )
    square.__class__ = _BY_SAMPLE[square.norm]  # keeps its settings

    def perturb_together(images: Tensor, labels: Tensor) -> Tensor:
        square.init_hyperparam(images)
        correct = (square.predict(images).argmax(1) == labels).nonzero().flatten()
        if not len(correct):
            return images
        square.numbers = numbers[correct.cpu()]
        _, found = square.attack_single_run(images[correct], labels[correct])
        return images.index_copy(0, correct, found)

    return perturb_together


_BY_SAMPLE = {"Linf": SampleSquare, "L2": SampleSquareL2}
_FASTER = {"Linf": (LinfFab, LinfSquare)}
"""FAB and Square for norms in which a faster equivalent of pyautoattack's exists."""
_SILENT = logging.Logger("pyautoattack", logging.CRITICAL)  # auditor.attacks.flags measures what it warns of


def _attack_of(suite: AutoAttack, attack: Attack) -> Callable[[Tensor, Tensor], Tensor]:
    """The part of the suite with the attack's name, set to the attack's parameters."""
    settings = attack.parameters
    part = {
        "apgd-ce": suite.apgd,
        "apgd-dlr": suite.apgd,
        "apgd-t": suite.apgd_targeted,
        "fab-t": suite.fab,
        "square": suite.square,
    }[attack.name]
    part.n_restarts = settings["restarts"]
    if attack.name == "square":
        part.n_queries = settings["queries"]
    elif part.n_iter != settings["iterations"]:
        raise ValueError(f"pyautoattack runs {part.n_iter} iterations, the protocol {settings['iterations']}")
    if attack.name in ("apgd-ce", "apgd-dlr"):
        part.loss = attack.name.removeprefix("apgd-")
        part.eot_iter = settings.get("eot", 1)
    if "targets" in settings:
        part.n_target_classes = settings["targets"]
    if attack.name == "fab-t":
        part.targeted = True
    perturb: Callable[[Tensor, Tensor], Tensor] = part.perturb
    return perturb

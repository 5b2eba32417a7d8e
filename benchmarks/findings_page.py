"""docs/findings.md from the measurements: every number on the page comes from the store."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from auditor.clustering import Association, spearman
from auditor.statistics import Auc
from benchmarks.calibration import THRESHOLD, Found, bootstrap, column, counted, demo_auc, random_networks
from benchmarks.study import gap

KINDS = {"weights": "as it is", "centred": "centred", "deflated": "without leading direction"}
HEAD = """\
# What the measurements show

This page measures what the gap and the effective rank say about robustness. These commands make the page, from the
root of the checkout with `.[test,zoos]` installed:

    OMP_NUM_THREADS=1 python -m benchmarks.findings              # measures what is not in the store yet; half an hour
    python -m benchmarks.findings none --calibrate               # auditor/data/gap_calibration.toml
    python -m benchmarks.findings none --write docs/findings.md  # this page

`python -m benchmarks.findings depth` measures one part. [method.md](method.md) defines gap, centred gap, effective
rank and p-value.
"""


def page(found: Found) -> str:
    parts = (
        HEAD,
        _efficientnet(found),
        _depth(found),
        _null(found),
        _batchnorm(found),
        _calibration(found),
        _errors(found),
        gap.section(),
    )
    return "\n\n".join(_filled(block) for block in "\n".join(parts).strip("\n").split("\n\n")) + "\n"


def _filled(block: str) -> str:
    """A paragraph at the width of the other pages; tables, headings and commands as they are."""
    words = block.strip("\n")
    if words.startswith(("|", "#", "    ")):
        return words
    joined = " ".join(words.split()).replace(" %", "\0%")  # a number keeps its sign
    return textwrap.fill(joined, 118, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _p(value: float) -> str:
    return f"{value:.4f}" if value < 0.001 else f"{value:.3f}"


def _efficientnet(found: Found) -> str:
    text = f"""\
## EfficientNet-Lite0 on ImageNet

`python -m benchmarks.findings efficientnet`: trained weights, 1,000 classes, 224x224, W Wᵀ in float64
(affinity error {found["efficientnet/remove"]["affinity_error"]:.0e} with batch norm removed,
{found["efficientnet/fold"]["affinity_error"]:.0e} with it folded). The tables have each level of ImageNet's
hierarchy, from the finest. The p-values come from {found["efficientnet/remove"]["permutations"]:,} permutations, so
the smallest possible one is 0.0001.

"""
    for variant in ("remove", "fold"):
        part = found[f"efficientnet/{variant}"]
        ranks = ", ".join(f"{part['effective_rank'][kind]:.2f} {words}" for kind, words in KINDS.items())
        text += f"Batch norm: `{variant}`. Effective rank of 1,000: {ranks}.\n\n"
        rows = [
            [f"{level['superclasses']}{' (headline)' * level['headline']}"]
            + [cell for kind in KINDS for cell in (f"{level[kind]['gap']:.3f}", _p(level[kind]["p"]))]
            for level in part["levels"]
        ]
        text += table(["superclasses", *(cell for words in KINDS.values() for cell in (f"gap, {words}", "p"))], rows)
        text += "\n"
    random = found["efficientnet/random"]["effective_rank"]
    return f"""{text}\
The linear map of the trained network has collapsed onto one pattern with signs, and most of the rest onto one or two
more patterns. The collapse is learned: the same network at random initialisation (seed 0, batch norm removed) has an
effective rank of {random:.1f}. From 918 superclasses to 16, with batch norm removed, templates of the same superclass
are more alike than others in all three matrices, and no permutation reached the gap. So the templates do contain
semantics. With batch norm folded this holds from 594 superclasses to 16, and without the leading direction only with
gaps of 0.01 to 0.03. At the three coarsest levels one superclass has more than nine tenths of the classes. There it
holds only without the leading direction, with batch norm removed, at two of the levels. The finest level has one pair
of classes in the same superclass. The levels are nested, and the p-values are not corrected for their number.

The size of the gap depends strongly on the level: gaps at different levels, or under different hierarchies, are not
comparable. This network has no measurable robustness ([local-zoos.md](local-zoos.md#three-examples)), so a
significant gap is no sign of robustness.
"""


def _depth(found: Found) -> str:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, row in found.items():
        if name.startswith("depth/"):
            groups.setdefault((name.split("/")[1], name.split("/")[2]), []).append(row)
    rows = []
    for (family, name), members in groups.items():
        ranks = [member["rank"] for member in members]
        spread = f"{np.mean(ranks):.1f} ({min(ranks):.1f} to {max(ranks):.1f})"
        rows.append([family, name, str(members[0]["layers"]), spread])
    return f"""\
## Effective rank and depth at random initialisation

`python -m benchmarks.findings depth`: {len(groups)} architectures, 100 classes, batch norm removed, mean and range of
{len(next(iter(groups.values())))} seeds. Inputs are small to save time: 32x32 for the plain networks (width 128, a
stem, 3x3 convolutions, three average poolings, two at depth 2), 64x64 for the others. The number of layers counts
convolutions and fully connected layers, without those of shortcuts.

{table(["family", "network", "layers", "effective rank of 100"], rows)}
The effective rank does not fall with depth in general. It falls in torchvision's ResNets (18 and 34 have one kind of
block, 50 and 101 another). It rises in plain networks, with and without shortcuts. In VGG, DenseNet and ViT the
depths differ no more than the seeds do, or hardly more. The family says more than the depth. No network here is below
{min(r["rank"] for m in groups.values() for r in m):.1f}, so depth at initialisation does not explain a
`rank_collapse` (below 1.5).
"""


def _spread(values: np.ndarray) -> list[str]:
    return [f"{values.mean():.3f}", f"{values.std(ddof=1):.3f}", *(f"{x:.2f}" for x in np.percentile(values, PERCENT))]


PERCENT = (5, 50, 95, 99)
NULLS = {
    ("cifar10", "remove"): "10 classes, CIFAR-10's superclasses",
    ("cifar10", "fold"): "the same, batch norm folded",
    ("fashion_mnist", "remove"): "the demo zoo's two shapes, Fashion-MNIST's superclasses",
    ("fashion_mnist", "fold"): "the same, batch norm folded",
    ("cifar100", "remove"): "100 classes, CIFAR-100's superclasses",
}


def _null(found: Found) -> str:
    rows = []
    for (data, variant), words in NULLS.items():
        networks = random_networks(found, data, variant)
        gaps, p = column(networks, "gap"), column(networks, "p")
        count = [words, str(len(networks)), str(len(gaps))]
        rows.append([*count, *_spread(gaps), f"{(p < 0.05).sum()} ({100 * (p < 0.05).mean():.1f} %)"])
    many = random_networks(found, "cifar10")
    each = []
    for name, members in (many | random_networks(found, "fashion_mnist")).items():
        gaps = np.array([member["gap"] for member in members])
        rank = np.mean([member["rank"] for member in members])
        each.append([name, str(len(gaps)), f"{rank:.1f}", *_spread(gaps), f"{gaps.max():.2f}"])
    missing = [name for name, row in found.items() if name.startswith("null/") and "gap" not in row]
    gaps = column(many, "gap")
    rho = spearman(list(column(many, "rank")), list(np.abs(gaps)))
    head = ["architectures", "networks", "mean", "sd", *(f"{x} %" for x in PERCENT)]
    return f"""\
## How large a gap means nothing?

`python -m benchmarks.findings null`: {len(many)} architectures at random initialisation, 32x32 (ViT 64x64), several
seeds each. These networks have learned nothing about any class, so their gaps are chance. (At initialisation ConvNeXt
V2 is the same as ConvNeXt, and so are its gaps. Batch norm folded at initialisation is nearly the identity, unless
its scale starts at 0.)

{table(["networks scored with", *head, "p < 0.05"], rows)}
**Of random networks with ten classes, 5 % have a gap above {np.percentile(gaps, 95):.2f}, and 1 % above
{np.percentile(gaps, 99):.2f}.** The largest gaps come from architectures of low effective rank, in which few
directions decide everything (Spearman's ρ of effective rank and |gap|: {rho.rho:.2f}, 95 % interval {rho.low:.2f} to
{rho.high:.2f}, over
{rho.n} networks). One threshold for all architectures is therefore rough. With a hundred classes chance gaps are much
smaller, so a threshold for ten classes does not apply there. The permutation p-value is correct within the error of
these counts: about one random network in twenty is below 0.05. It is the better protection against chance.

{_missing(missing)}
The table has each architecture, with batch norm removed, its mean effective rank (of 10) and its largest gap:

{table(["network", "seeds", "rank", *head[2:], "largest"], each)}"""


def _missing(names: Sequence[str]) -> str:
    if not names:
        return ""
    which = sorted({" ".join(name.split("/")[2:4]) for name in names})
    return f"Not measurable, as the linearized network fails the check: {', '.join(which)}, {len(names)} seeds.\n"


def _rho(found: Association) -> str:
    return f"{found.rho:.2f} ({found.low:.2f} to {found.high:.2f}, n = {found.n})"


def _batchnorm(found: Found) -> str:
    screens = {variant: found[f"demo/screen/{variant}"] for variant in ("remove", "fold")}
    rows = []
    for model in sorted(found["demo/standard"], key=lambda model: -found["demo/standard"][model]):
        cells = [model, f"{100 * found['demo/standard'][model]:.1f}"]
        for screen in screens.values():
            row = screen[model]
            cells += [f"{row['gap']:.2f}", _p(row["p"]), f"{row['rank']:.1f}"]
        rows.append(cells)
    models = list(found["demo/standard"])
    both = spearman(*([screen[model]["gap"] for model in models] for screen in screens.values()))
    lines = []
    for regularized, words in ((True, "all unflagged models"), (False, "without those trained with the regularizer")):
        cells = [words]
        for variant in screens:
            counts = counted(found, variant, regularized).values()
            cells.append(_rho(spearman([row["gap"] for row in counts], [row["robust"] for row in counts])))
            quick = [found["demo/quick/remove"][model]["robust"] for model in counted(found, variant, regularized)]
            cells.append(_rho(spearman([row["gap"] for row in counts], quick)))
        lines.append(cells)
    head = [
        "Spearman's ρ of gap and robust accuracy",
        "remove, standard",
        "remove, quick",
        "fold, standard",
        "fold, quick",
    ]
    return f"""\
## Batch norm: `remove` against `fold`

`python -m benchmarks.findings batchnorm`: the demo zoo under `auditor scan demo --protocol screen` with both
linearizations. The robust accuracies under `standard` are those of the table in the
[README](../README.md#what-you-get), 500 images. Those under `quick` are from another scan. `certified-eps0.10`
joined the zoo later and is not in the tables of this page.

{table(["model", "robust %", "gap, remove", "p", "rank", "gap, fold", "p", "rank"], rows)}
Spearman's ρ of the two gaps over all {both.n} models: {_rho(both)}.

{table(head, lines)}
The two linearizations agree roughly, and exactly for networks without batch norm. The data does not show which of
them is more closely related to robustness: the intervals overlap almost completely. `remove` stays the default
because the paper uses it, not because it is better.
"""


def _auc(found: Auc) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _calibration(found: Found) -> str:
    rows = []
    for variant in ("remove", "fold"):
        for regularized in (True, False):
            area, (low, high) = demo_auc(found, variant, THRESHOLD, regularized), bootstrap(found, variant, regularized)
            words = "all unflagged" if regularized else "without the regularizer"
            bootstrapped = f"{low:.2f} to {high:.2f}"
            rows.append([variant, words, str(area.n), str(area.positives), _auc(area), bootstrapped])
    others = [
        [f"{100 * threshold:.0f} %", str(area.positives), _auc(area)]
        for threshold in (0.1, 0.4, 0.5, 0.7)
        for area in [demo_auc(found, "remove", threshold)]
    ]
    shapes = random_networks(found, "fashion_mnist")
    places = []
    for model, row in found["demo/screen/remove"].items():
        shape = "plain_convnet" if model.startswith("demo:plain-") else "small_resnet"
        gaps = np.array([member["gap"] for member in shapes[shape]])
        share = f"{100 * (gaps >= row['gap']).mean():.1f}"
        places.append([model, shape, f"{row['gap']:.2f}", share, f"{100 * found['demo/standard'][model]:.1f}"])
    places.sort(key=lambda cells: float(cells[3]))
    rank = demo_auc(found, "remove", score="rank")
    main = demo_auc(found, "remove")
    return f"""\
## Does the gap distinguish robust models? The calibration of `screen`

On the demo zoo a model counts as robust if its robust accuracy at ε = 0.1 under `standard` (500 images,
[README](../README.md#what-you-get)) is
{100 * THRESHOLD:.0f} % or more. `saturated` is left out, because its flag says that gradient attacks see no gradient
on it, and it has no robustness. AUC is the probability that a robust model has a larger gap than another model, with
a 95 % interval after Newcombe (2006, method 5). Beside it are percentiles of a bootstrap over models, with robust
ones and others drawn separately.

{table(["batch norm", "models", "n", "robust", "AUC (95 % interval)", "bootstrap"], rows)}
{_verdict(main)} The threshold was fixed before any AUC was computed. With batch norm removed, other thresholds would
have given:

{table(["robust from", "robust models", "AUC (95 % interval)"], others)}
Beside every `screen` result auditor prints the row of all unflagged models under its linearization, with the gap that
5 % of random networks exceed, from [`gap_calibration.toml`](../auditor/data/gap_calibration.toml). It is about
{main.n}
small networks on one data set, with one seed each, several of them trained alike. Nothing shows that it applies to
other data sets, sizes or architectures. One analysis was not planned beforehand: a *low* effective rank distinguishes
robust models from others with an AUC of {1 - rank.value:.2f} ({1 - rank.high:.2f} to {1 - rank.low:.2f}). Gap and
rank are not independent.

The next table compares the gap of each model with those of its own shape at random initialisation
({len(shapes["small_resnet"])} seeds
each, Fashion-MNIST's superclasses). It has the share of random networks with at least that gap.

{table(["model", "shape", "gap", "random ≥, %", "robust %"], places)}
Some models without any robustness are as far from chance as robust ones: training on the classes alone can make a gap
that chance does not. A gap beyond chance says that something was learned, not that it is robust.
"""


def _errors(found: Found) -> str:
    rows, towards = [], []
    for model, row in found["demo/errors"].items():
        within = f"{row['severity']:.2f} ({row['severity_low']:.2f} to {row['severity_high']:.2f})"
        rows.append(
            [
                f"{model}{' (flagged)' * bool(row['flags'])}", f"{100 * row['robust']:.1f}",
                f"{100 * row['superclass_robust_accuracy']:.1f}", str(row["broken"]), within,
                f"{row['severity_chance']:.2f}", f"{row['severity_by_c']:.2f}", _p(row["severity_p_value"]),
                f"{row['success_gap']:.2f}", _p(row["success_p"]),
            ]
        )  # fmt: skip
        score = row["targeted"]
        rates = [
            f"{100 * score[f'{kind}_rate']:.1f} ({100 * score[f'{kind}_low']:.1f} to {100 * score[f'{kind}_high']:.1f})"
            for kind in ("within", "across")
        ]
        towards.append([rows[-1][0], f"{100 * row['broken'] / score['n']:.1f}", *rates])
    heads = ["model", "robust %", "superclass-robust %", "broken", "severity (95 %)", "chance", "nearest in C", "p"]
    known = [row for row in found["demo/errors"].values() if not row["flags"]]
    rho = spearman([row["robust"] for row in known], [row["severity"] for row in known])
    beyond = [row for row in known if row["severity_p_value"] < 0.05]
    robust = [row for row in known if row["robust"] >= THRESHOLD]
    without = sum(row["robust"] < 0.1 for row in beyond)
    above = sum(row["severity"] > row["severity_by_c"] for row in known)
    across = [row["targeted"]["across_rate"] for row in robust]
    hidden = [row for row in known if row["targeted"]["across"] > round(row["broken"] * (1 - row["severity"]))]
    flagged = {model: row for model, row in found["demo/errors"].items() if row["flags"]}
    missed = "".join(
        f" {model} is flagged with reason: the cascade broke {row['broken']} of its {row['targeted']['n']} images, and "
        f"the targeted attack, which follows a margin instead of the cross-entropy, {row['targeted']['across']}."
        for model, row in flagged.items()
        if row["targeted"]["across"] > row["broken"]
    )
    return f"""\
## What the attacks turn images into

`python -m benchmarks.findings errors`: `auditor scan demo --protocol quick --targeted superclass`,
{known[0]["n"]} images at each model's threat model. Severity is the share of the images broken by the cascade that stay
in their superclass ([errors.md](errors.md)).

{table([*heads, "gap of A", "p"], rows)}
All {len(robust)} unflagged models with a robust accuracy of {100 * THRESHOLD:.0f} % or more have a severity above
chance (the largest p is {_p(max(row["severity_p_value"] for row in robust))}, the smallest possible one
{_p(2 / 5040)}; they are not corrected for the number of models); between
{min(row["broken"] for row in robust)} and {max(row["broken"] for row in robust)} of their images were broken, so the
intervals are wide. {without} models with a robust accuracy below 10 % have one too (p below 0.05): that errors follow
the hierarchy is no sign of robustness. Spearman's ρ of robust accuracy and severity over the unflagged models is
{_rho(rho)}. The broken images of a robust model are the few that lie near a boundary, so the severities of
two models are not those of the same images.
The severity is above that of the nearest class in C for
{above} of the {len(known)} unflagged models and
not for the others, so C does not tell how severe the errors of a model are. The superclass-robust
accuracy is an upper bound, because the cascade does not aim at other superclasses. The targeted attack does:

{table(["model", "broken by the cascade, %", "into its superclass, % (95 %)", "into another, % (95 %)"], towards)}
The rates are shares of the correctly classified images that have such a target. For the {len(robust)} models above,
between {100 * min(across):.1f} % and {100 * max(across):.1f} % can be broken into another superclass. A severity
of 1 does not mean that no image can: on {len(hidden)} of the {len(known)} unflagged models the targeted attack broke
more images into another superclass than the cascade.{missed} The rates are lower bounds, as those of any attack.
"""


def _verdict(area: Auc) -> str:
    if area.low <= 0.5:
        return "The interval includes 0.5, so the gap may be no better than chance."
    return "The interval excludes 0.5."

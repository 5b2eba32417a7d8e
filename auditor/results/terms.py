"""What the terms of tables and plots mean: for the help page and the tooltips."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term of tables and plots: its name, one sentence for a tooltip, and more sentences for the help page."""

    name: str
    short: str
    more: str = ""


TERMS: dict[str, Term] = {
    "robust-accuracy": Term(
        "robust accuracy",
        "The share of test images that are classified correctly under every attack of the protocol.",
        "It is an upper bound: a stronger attack may break more images. Under common corruptions it is the mean "
        "accuracy over all corruptions and severities.",
    ),
    "certified-accuracy": Term(
        "certified accuracy",
        "The share of test images that bounds prove to be classified correctly in all of the ball.",
        "It is a lower bound of the robust accuracy. A bound of 0 says nothing about the model.",
    ),
    "smoothed-certified-accuracy": Term(
        "smoothed certified accuracy",
        "The share of test images that randomized smoothing certifies for the smoothed model.",
        "The smoothed model answers with the class that is most frequent under noise. It is another classifier, so "
        "this is no bound of the model's own robust accuracy.",
    ),
    "clean-accuracy": Term(
        "clean accuracy", "The share of test images that are classified correctly without an attack."
    ),
    "published": Term(
        "published accuracy",
        "The robust accuracy that the model's authors or a benchmark report.",
        "An asterisk marks a number that its publisher calls unreliable.",
    ),
    "interval": Term(
        "95 % interval",
        "Wilson's interval of the robust accuracy; under common corruptions, with the images as units.",
        "It covers the choice of test images only, not the strength of the attacks.",
    ),
    "flag": Term(
        "flag",
        "A named reason why a number cannot be trusted.",
        "A flagged result keeps its number but has no rank.",
    ),
    "gap": Term(
        "gap",
        "The mean correlation of class templates inside superclasses, minus the mean across superclasses.",
        "Robust networks tend to have a larger gap. A gap is evidence, not proof; only attacks measure robustness.",
    ),
    "p-value": Term(
        "p-value",
        "The probability of a gap at least this large if the superclasses were drawn at random.",
        "It comes from permutations of the superclasses.",
    ),
    "C": Term(
        "C",
        "The correlation matrix of the class templates: how similar the templates of two classes are, from −1 to 1.",
        "It comes from the linearized network and needs no data.",
    ),
    "F": Term(
        "F",
        "The matrix of feature distances: the mean squared difference of the mean logits of two classes.",
        "It needs images, but no attack.",
    ),
    "W": Term(
        "W",
        "The linear map from pixels to logits that remains when the network's non-linear operations are replaced.",
        "Its row for a class is the template of the class.",
    ),
    "screening-score": Term(
        "screening score",
        "The estimated probability that at least half of what a model classifies correctly survives attacks.",
        "It is computed from the weights and random images, without an attack, and it can be deceived. Use it to "
        "choose what to attack first.",
    ),
    "effective-rank": Term(
        "effective rank",
        "How many directions the class templates use: (Σλ)² / Σλ² over the eigenvalues of C.",
        "It is between 1 and the number of classes. Below 1.5 a result is flagged rank_collapse.",
    ),
    "protocol": Term(
        "protocol",
        "A named list of attacks: screen (none), quick, standard, strong or full.",
        "quick runs FGSM and PGD-20; standard adds CW-20 and AutoAttack; strong is an adaptive search about as "
        "strong as AutoAttack in Linf and L2, and not compared in L1; full is standard on the whole test set.",
    ),
    "norm": Term(
        "norm",
        "How the size of a change of an image is measured: Linf (the largest change of a pixel), L2 (its length) or L1 "
        "(the sum of the changes of all pixels).",
        "Common corruptions have no norm and no ε. They are published pictures, or generated ones.",
    ),
    "epsilon": Term(
        "ε",
        "The largest change that an attack may make, in units of the [0, 1] pixels.",
        "8/255 is usual for Linf on small colour images.",
    ),
    "identity": Term(
        "identity",
        "A digest of everything that can change an audit's numbers.",
        "It covers weights, preprocessing, images, norm, ε, protocol, seed and more. A finished audit is not repeated "
        "under the same identity.",
    ),
    "setting": Term(
        "setting",
        "What two results must share to be ranked together.",
        "It is the protocol, data set, norm, ε, number of images, treatment of batch norm, sketch, and attacks beyond "
        "the protocol.",
    ),
}
"""By their anchor on the help page."""

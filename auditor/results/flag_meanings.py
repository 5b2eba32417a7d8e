"""What each flag means, and what to do about it: for the help page, the tooltips and SARIF."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FlagMeaning:
    """``meaning``: when a result gets the flag; ``advice``: what to do."""

    meaning: str
    advice: str


FLAGS: dict[str, FlagMeaning] = {
    "possible_masking": FlagMeaning(
        "To first order, at least 30 points more of the correctly classified images have a class boundary within ε "
        "than the attacks break. On an ordinary network attacks find such boundaries, so this model's gradients may "
        "lead nowhere.",
        "Audit it under the protocol standard. Look for steps, rounding or noise that hide the gradients.",
    ),
    "zero_gradients": FlagMeaning(
        "More than 5 % of the correctly classified images have a gradient of exactly 0, so gradient attacks cannot "
        "work.",
        "Use the protocol standard, whose attack Square needs no gradients. Look for saturated outputs, and for "
        "operations without a gradient, such as rounding.",
    ),
    "squashed_output": FlagMeaning(
        "The outputs squash the logits, as a tanh does, or they are bounded while the logits before them are hidden.",
        "Audit the model without its last operation.",
    ),
    "vanishing_gradients": FlagMeaning(
        "More than 5 % of the losses are exactly 0, and PGD-20 on rescaled logits clearly breaks images that had "
        "survived.",
        "Train or deploy the model at a lower temperature, or use the protocol standard.",
    ),
    "nonfinite_gradients": FlagMeaning(
        "More than 5 % of the gradients at images had NaN or infinite values; the attacks took these values as 0.",
        "Look for a square root, a norm or a logarithm of 0 in the network.",
    ),
    "randomized": FlagMeaning(
        "Several passes over the same images differ. The model is attacked through averages over 20 passes.",
        "Turn the random part off (dropout, noise, random crops) and audit again, if it is not the defence itself.",
    ),
    "batch_dependent": FlagMeaning(
        "The logits of an image alone differ from its logits in a batch: the model uses batch statistics at test time.",
        "Put the model into evaluation mode, so that batch norm uses its stored statistics.",
    ),
    "out_of_budget": FlagMeaning(
        "An attack returned images outside the ε-ball or outside [0, 1]. They do not count as broken.",
        "Report it with the model's name: an attack of auditor should never do this.",
    ),
    "softmax_output": FlagMeaning(
        "The outputs are probabilities, not logits, so gradients are small where the model is sure.",
        "Remove the softmax at the model's end and audit again.",
    ),
    "more_steps_weaker": FlagMeaning(
        "FGSM, one large step, clearly breaks more images than PGD-20 does with twenty small ones.",
        "Use the protocol standard, and look for what makes the gradients misleading.",
    ),
    "square_beats_gradients": FlagMeaning(
        "Square, which uses no gradients, clearly breaks images that no gradient attack broke.",
        "The gradients are hidden. Look for rounding, noise or saturated operations.",
    ),
    "dark_images": FlagMeaning(
        "The largest pixel is at most 1/255: the pixels were divided by 255 twice, or 0 and 1 were stored as bytes.",
        "Check the scale of the data: pixels must be from 0 to 1.",
    ),
    "equal_images": FlagMeaning(
        "All images are equal, or each has a single value.",
        "Check the files of the data set.",
    ),
    "accuracy_at_chance": FlagMeaning(
        "The clean accuracy is no better than guessing, or all images get the same class.",
        "Check the normalization, the order of the channels, the labels and the weights.",
    ),
    "labels_permuted": FlagMeaning(
        "Far more images would be classified correctly if the labels were shifted by one, or the classes were in "
        "another order.",
        "Check the order of the classes in the zoo's file.",
    ),
    "untrained": FlagMeaning(
        "The model is an architecture with random weights.",
        "Read the result as one of the architecture, not of a trained network.",
    ),
    "clean_accuracy_mismatch": FlagMeaning(
        "The clean accuracy differs from the published one by 2 points or more, and by more than chance explains.",
        "Check the weights, the preprocessing and the data set against those of the publication.",
    ),
    "robust_accuracy_mismatch": FlagMeaning(
        "The robust accuracy differs from the published one by 2 points or more, and by more than chance explains. "
        "Under the protocol quick, whose attacks are weaker, only a lower accuracy is flagged.",
        "Check that norm and ε are those of the publication, and use the protocol standard.",
    ),
    "rank_collapse": FlagMeaning(
        "The effective rank of C is below 1.5: all templates point in nearly one direction.",
        "Ignore the clustering scores of this model; the robust accuracy is not affected.",
    ),
    "certificate_contradicted": FlagMeaning(
        "A certified image was broken by an attack, which is impossible: the certificate or the attack is wrong.",
        "Report it with the model's name, and trust neither number.",
    ),
    "stopped_early": FlagMeaning(
        "The audit stopped once its gate was decided (--fail-under with --sequential), so it attacked fewer images.",
        "Read it as an answer to the gate. Audit the model without --sequential for a number to compare.",
    ),
    "not_reproduced": FlagMeaning(
        "The audit was repeated under the same identity, and its result differs.",
        "Compare devices and versions of the two audits. Do not trust either number until they agree.",
    ),
}
"""By the name of the flag."""

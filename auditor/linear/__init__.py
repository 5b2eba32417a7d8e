"""Linearization: what each operation becomes, the affine network, the check that it is affine, W and C."""

from auditor.errors import LinearizationError
from auditor.linear.linearize import linearize
from auditor.linear.loss import correlation_loss
from auditor.linear.sketch import TemplateSketch, template_sketch
from auditor.linear.weight import TemplateGram, class_correlation, implicit_weight, template_gram

__all__ = [
    "LinearizationError",
    "TemplateGram",
    "TemplateSketch",
    "class_correlation",
    "correlation_loss",
    "implicit_weight",
    "linearize",
    "template_gram",
    "template_sketch",
]

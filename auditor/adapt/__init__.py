"""Domain adaptation: a classifier's features on unseen subclasses, with a head that predicts superclasses."""

from auditor.adapt.baseline import nearest_mean
from auditor.adapt.heads import superclass_head
from auditor.adapt.run import adapt

__all__ = ["adapt", "nearest_mean", "superclass_head"]

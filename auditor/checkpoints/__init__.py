"""Handing fine-tuned checkpoints out: the folder, its model card, and the hub. Imports no torch by itself."""

from auditor.checkpoints.card import model_card
from auditor.checkpoints.hub import check_repo, push
from auditor.checkpoints.layout import hand_out

__all__ = ["check_repo", "hand_out", "model_card", "push"]

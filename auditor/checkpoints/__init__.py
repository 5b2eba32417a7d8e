"""Handing fine-tuned checkpoints out: the folder, its model card, and the hub. Imports no torch by itself."""

from auditor.checkpoints.card import model_card
from auditor.checkpoints.export import export_checkpoint, read_card
from auditor.checkpoints.hub import check_repo, push

__all__ = ["check_repo", "export_checkpoint", "model_card", "push", "read_card"]

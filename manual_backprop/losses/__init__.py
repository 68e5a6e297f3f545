"""Losses: one class is one loss. Importing this package fills the registry `LOSSES`."""

from manual_backprop.losses import likelihood, logits, margin, probabilities, regression
from manual_backprop.operation import LOSSES

__all__ = ["LOSSES", "likelihood", "logits", "margin", "probabilities", "regression"]

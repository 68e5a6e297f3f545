"""Mistakes in the backward of layers, by (operation, argument). `LAYER_MISTAKES` holds them all."""

from reference.diagnosis.layer_mistakes import (
    alignments,
    attention,
    cells,
    losses,
    moved,
    norms,
    products,
    windows,
)
from reference.diagnosis.layer_mistakes.catalogue import (
    LAYER_MISTAKES,
    LayerLine,
    LayerMistake,
    line_of_step,
    named,
)

__all__ = ["LAYER_MISTAKES", "LayerLine", "LayerMistake", "line_of_step", "named"]

# Imported for their entries.
FAMILIES = (norms, attention, cells, windows, products, losses, alignments, moved)

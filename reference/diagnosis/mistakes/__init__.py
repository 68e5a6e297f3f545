"""The catalogue of mistakes, by family. `CATALOGUE` holds them all, by name."""

from reference.diagnosis.mistakes import (
    activations,
    batching,
    layers,
    losses,
    memory,
    rowwise,
    slopes,
)
from reference.diagnosis.mistakes.catalogue import (
    CATALOGUE,
    ActivationLine,
    DenseLine,
    Line,
    LossLine,
    Mistake,
)
from reference.diagnosis.mistakes.walk import FaultSite, InjectedFaults, backward_with, places

__all__ = [
    "CATALOGUE",
    "ActivationLine",
    "DenseLine",
    "FaultSite",
    "InjectedFaults",
    "Line",
    "LossLine",
    "Mistake",
    "backward_with",
    "places",
]

# Imported for their entries; of two mistakes that fit equally well, the one entered first is named.
FAMILIES = (activations, rowwise, batching, layers, losses, memory, slopes)

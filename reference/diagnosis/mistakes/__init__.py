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
    "about",
    "backward_with",
    "places",
]

# Imported for their entries; of two mistakes that fit equally well, the one entered first is named.
FAMILIES = (activations, rowwise, batching, layers, losses, memory, slopes)


def about(kind: str, operation: str | None = None) -> list[Mistake]:
    """Return the mistakes that can be made with an operation ("layer", "activation" or "loss").

    With the operation's name: first those of its own formula, then those of any of its kind.
    """
    lines = {
        "layer": ("weight", "bias", "below"), "activation": ("activation",), "loss": ("loss",),
    }[kind]  # fmt: skip
    found = [m for m in CATALOGUE.values() if m.line in lines]
    if operation is None:
        return found
    own = [m for m in found if operation in m.operations]
    return own + [m for m in found if not m.operations]

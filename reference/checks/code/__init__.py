"""The user's code: loaded, listed, called, stopped in time, and what its names say."""

from reference.checks.code.argument_spec import Spec, spelled
from reference.checks.code.inventory import Unit, units_of
from reference.checks.code.raised import raised_text
from reference.checks.code.routine import (
    Path,
    Routine,
    claim_name,
    is_numeric,
    leaves_of,
    path_name,
)
from reference.checks.code.source import Target, load, text_of
from reference.checks.code.vocabulary import is_gradient_name, is_target, plain, same_thing, stem_of

__all__ = [
    "Path", "Routine", "Spec", "Target", "Unit", "claim_name", "is_gradient_name", "is_numeric",
    "is_target", "leaves_of", "load", "path_name", "plain", "raised_text", "same_thing",
    "spelled", "stem_of", "text_of", "units_of",
]  # fmt: skip

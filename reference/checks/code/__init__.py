"""The user's code: loaded, listed, called, stopped in time, and what its names say."""

from reference.checks.code.argument_spec import Layout, Spec, generator, sizes_for, spelled
from reference.checks.code.deadline import TooSlow, within
from reference.checks.code.inventory import Unit, nothing_found, units_of
from reference.checks.code.raised import raised_text
from reference.checks.code.routine import (
    NumericValue,
    Path,
    Routine,
    claim_name,
    is_numeric,
    leaves_of,
    path_name,
    source_of,
)
from reference.checks.code.source import Target, load, text_of
from reference.checks.code.vocabulary import is_gradient_name, is_target, plain, same_thing, stem_of

__all__ = [
    "Layout", "NumericValue", "Path", "Routine", "Spec", "Target", "TooSlow", "Unit", "claim_name",
    "generator", "is_gradient_name", "is_numeric", "is_target", "leaves_of", "load",
    "nothing_found", "path_name", "plain", "raised_text", "same_thing", "sizes_for", "source_of",
    "spelled", "stem_of", "text_of", "units_of", "within",
]  # fmt: skip

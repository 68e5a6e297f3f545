"""Rows of kinds that run on floats: a claim beside a truth that has rounding of its own."""

import re

import numpy as np

from reference.checks.assessment import Row, factor_of
from reference.checks.matching import same_shape
from reference.checks.objective import Truth
from reference.checks.routine import Path
from reference.checks.tolerances import DIGITS

FLOAT32 = re.compile(r"float32|\.float\(\)|float16|\.half\(\)")
"""What code says that computes in fewer digits than its inputs have."""


def float_truth(value: object, digits: float = DIGITS) -> Truth:
    """Return a truth that was computed in float64: its error is a share of its largest entry."""
    plain = np.asarray(value, dtype=np.float64)
    finite = np.abs(plain[np.isfinite(plain)])
    scale = np.full(plain.shape, float(np.max(finite, initial=0.0)))
    return Truth(plain, digits * scale, scale)


def row(claim: Path, leaf: Path, got: object, truth: Truth, digits: float = DIGITS) -> Row:
    """Return one claim compared with the truth."""
    plain = np.asarray(got, dtype=np.float64)
    same = same_shape(plain, truth.value)
    if same == 0:
        return Row(claim, leaf, plain, truth, None, False, same)
    if same < 1:
        plain = plain.reshape(truth.value.shape)
    factor = factor_of(plain, truth, digits)
    return Row(claim, leaf, plain, truth, factor, factor == 1.0, same)

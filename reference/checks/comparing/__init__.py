"""The certified gradient of the forward, and the claims of the backward beside it."""

from reference.checks.comparing.allowances import nice_factors
from reference.checks.comparing.assessing import assess
from reference.checks.comparing.assessment import Assessment, Row, close, row
from reference.checks.comparing.identify import compared, identify, known_like, not_compared
from reference.checks.comparing.losses import LOSSES
from reference.checks.comparing.objective import Objective, Truth, as_array, targets_of, truths

__all__ = [
    "LOSSES", "Assessment", "Objective", "Row", "Truth", "as_array", "assess", "close", "compared",
    "identify", "known_like", "nice_factors", "not_compared", "row", "targets_of", "truths",
]  # fmt: skip

"""Which mistake makes a wrong gradient, and where: `explain(reading, objective, seed, indices)`."""

from reference.checks.explain.finding import Explanation
from reference.checks.explain.search import LIMIT, explain

__all__ = ["LIMIT", "Explanation", "explain"]

"""The five articles, each as it is printed, and the public format of a claim.

One module is one article: its network in its own notation, its gradient by hand with what was
wrong put right, and its claims. A module is imported when its article is asked for.
"""

import importlib

from manual_backprop.articles.claim import (
    Article,
    Claim,
    Evaluation,
    NoSuchEntries,
    Product,
    ShapeMismatch,
    multiply,
    product,
)
from manual_backprop.articles.system import (
    NUMPY,
    Arithmetic,
    Draw,
    NumpyArithmetic,
    Quantities,
    System,
    Undefined,
    differentiable,
)
from manual_backprop.operation import InvalidInput

ARTICLES: tuple[str, ...] = ("000", "001", "002", "003", "004")

__all__ = [
    "ARTICLES",
    "NUMPY",
    "Arithmetic",
    "Article",
    "Claim",
    "Draw",
    "Evaluation",
    "NoSuchEntries",
    "NumpyArithmetic",
    "Product",
    "Quantities",
    "ShapeMismatch",
    "System",
    "Undefined",
    "article",
    "differentiable",
    "multiply",
    "product",
]


def article(name: str) -> Article:
    """Return one of the five articles by its number."""
    if name not in ARTICLES:
        raise InvalidInput(f"article={name!r} is unknown; expected one of: {', '.join(ARTICLES)}")
    found: Article = importlib.import_module(f"{__name__}.article_{name}").ARTICLE
    return found

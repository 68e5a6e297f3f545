"""A square array of cotangents that is transposed, or that is not, on its way back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reference.checks.explain.graph import Edit, Hook, Places
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.operands import products
from reference.checks.explain.paths import pieces
from reference.checks.explain.problem import ReadingProblem
from reference.checks.routine import Path


def turned_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every square value, named or between a weight and its result."""
    for path, named in pieces(problem).items():
        shape = named.shape
        if len(shape) >= 2 and shape[-1] == shape[-2] > 1 and path not in problem.outcome.inputs:
            yield _grid(path, named.text, int(named.places.max()))
    for path in dict.fromkeys(b for b, _ in products(problem)):
        if path in problem.outcome.inputs:
            yield _grid(
                (*path, "children"),
                f"the product with {pieces(problem)[path].text}",
                int(pieces(problem)[path].places.max()),
            )


def _grid(path: Path, text: str, depth: int) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        places = _grid_places(problem, path)
        if places is None:
            return None
        turned = np.swapaxes(places, -1, -2).ravel().tolist()
        flat = places.ravel().tolist()

        def hook(adjoints: list[float]) -> None:
            values = [adjoints[p] for p in turned]
            for place, value in zip(flat, values, strict=True):
                adjoints[place] = value

        hooks: dict[int, list[Hook]] = {max(flat): [hook]}
        return Edit(hooks=hooks)

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        where = f" before it goes on to {claims}" if match.alone else ""
        return Words(
            "transposed",
            f"The gradient of {text} is transposed{where} (one transpose is missing or too many).",
            f"{claims} from δ",
            f"{claims} from δᵀ, transposed",
        )

    return Hypothesis(("grid", *path), edit, words, 1.4, depth)


def _grid_places(problem: ReadingProblem, path: Path) -> Places | None:
    if path[-1] != "children":
        named = pieces(problem).get(path)
        ok = (
            named is not None
            and named.shape[-1:] == named.shape[-2:-1]
            and (named.places >= 0).all()
        )
        return named.places if ok and named is not None else None
    found = {u.child for (b, _), uses in products(problem).items() if b == path[:-1] for u in uses}
    n = round(len(found) ** 0.5)
    if n < 2 or n * n != len(found):
        return None
    return np.array(sorted(found), dtype=np.int64).reshape(n, n)

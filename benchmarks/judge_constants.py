"""Measures the constants of reference/judge.py on correct answers.

For drawn problems, how many ulps each number needs: its distance from its certified value, in
units of what *strict* allows, times ULPS; and which model of rounding each answer ends under.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from reference.blocks import weigh as weighing
from reference.judge import MAX_LOST_SHARE, MODELS, ULPS
from reference.oracles import load
from reference.problems import draw

SIDES = ("manual", "torch", "jax")
SHARES = (50.0, 99.0, 99.9, 100.0)


def main() -> None:
    """Print the distributions."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--problems", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=11)
    given = arguments.parse_args()
    needed: dict[str, list[np.ndarray]] = defaultdict(list)
    problems = [draw(given.seed, 7919 * i).problem for i in range(given.problems)]
    strict = weighing.Weighing._strict

    def measured(
        self: weighing.Weighing, check: weighing.Check, name: str
    ) -> Iterator[tuple[weighing.Check, np.ndarray, str]]:
        unit = self._units(check.columns.dtype)[0]
        with np.errstate(all="ignore"):
            ratio = ULPS * check.error / check.allowed(unit)
        needed["slope" if name.endswith("z") or "forward" not in name else "value"].append(
            ratio[:, check.judged if check.judged.ndim == 1 else check.judged.all(0)].ravel()
        )
        return strict(self, check, name)

    weighing.Weighing._strict = measured  # type: ignore[method-assign]
    for side, oracle in load(SIDES).items():
        needed.clear()
        answers = list(enumerate(oracle.answers(problems)))
        found = weighing.weigh(problems, answers, MODELS, "manual", MAX_LOST_SHARE)
        for what, parts in needed.items():
            ratios = np.concatenate(parts)
            ratios = ratios[np.isfinite(ratios)]
            spread = "  ".join(f"{s}%: {np.percentile(ratios, s):.3g}" for s in SHARES)
            print(f"{side:7} ulps of a {what:6} n {len(ratios):8}  {spread}")
        models = Counter(
            f.model.name if f.model else "outside" for fs in found.findings.values() for f in fs
        )
        print(side, f"{len(problems)} problems; tensors beyond strict:", dict(models))


if __name__ == "__main__":
    main()

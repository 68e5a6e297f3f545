"""Random right targets as source text, each with the same source holding one mistake.

`target(seed)` is a pure function of its seed: a random computation (an elementwise expression, a
layer, a loss, a network) written in a random dialect.
"""

import random

from randomdialects import write
from randomlayers import LAYERS
from randomplans import Injected, RandomTarget, pattern_of
from randomspatial import SPATIAL


def target(seed: int) -> RandomTarget:
    """Return the target of a seed."""
    rng = random.Random(seed)
    kind = rng.random()
    if kind < 0.18:
        from randomlosses import loss

        return loss(seed, rng)
    if kind < 0.4:
        from randomnetworks import network

        return network(seed, rng)
    return layer(seed, rng)


def layer(seed: int, rng: random.Random) -> RandomTarget:
    """Return a layer or an elementwise function."""
    plan = rng.choice(LAYERS if rng.random() < 0.75 else SPATIAL)(rng)
    source = write(plan, seed)
    mistakes = []
    for edit in plan.mistakes:
        try:
            wrong = write(plan.edited(edit), seed)
        except ValueError:
            continue
        # sigmoid_prime(x): return x * (1 - x) is right when it is called with the activation.
        of_output = edit.kind == "wrong variable" and "return slope" in source
        if wrong != source and not of_output:
            mistakes.append(Injected(edit.kind, wrong, pattern_of(edit)))
    return RandomTarget(seed, plan.family, source, tuple(mistakes))

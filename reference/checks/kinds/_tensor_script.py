"""The lines of a script that calls a pair of functions on tensors, as the check read them."""

from collections.abc import Iterator

import numpy as np

from reference.checks.code import Path
from reference.checks.kinds._frames import Frame
from reference.checks.kinds._tensor_runs import CallProblem, Claimed
from reference.checks.running import Reading, matched
from reference.checks.showing.spelling import NoShortSpelling, call_text, part_of


def script_lines(
    plan: Reading,
    frame: Frame,
    problem: CallProblem,
    found: Claimed,
    leaves: list[tuple[str, Path]],
) -> Iterator[str]:
    """Yield the lines that call a forward and its backward; raises NoShortSpelling.

    problem, found: what went in, and what came of it. leaves: the names under which gradients
    are returned, with what they are of.
    """
    forward, back, jax = plan.first, plan.unit.backward, frame.module == "jax"
    wide = "jax.config.update('jax_enable_x64', True)"
    yield wide if jax else "torch.set_default_dtype(torch.float64)"
    tensor = "jax.numpy.asarray" if jax else "torch.tensor"
    arrays = [k for k, v in problem.drawn.items() if isinstance(v, np.ndarray)]
    if any("[" in k or isinstance(v, list | dict) for k, v in problem.drawn.items()):
        raise NoShortSpelling("arguments in lists")
    yield f"v = {{k: {tensor}(x) if k in {[*arrays, 'dout']!r} else x for k, x in given.items()}}"
    reached = {k: f"v[{k!r}]" for k in problem.drawn}
    yield f"out = {call_text(f'theirs.{forward.name}', forward, reached)}"
    several = "isinstance(out, tuple)"
    (part,) = found.cotangents
    sources = {
        f"cotangent:{part}": "v['dout']", f"output:{part}": f"out[{part}]",
        "output:": f"(out[0] if {several} else out)",
        "rest": "(out[1] if len(out) == 2 else tuple(out[1:]))", "last": "out[-1]", "all": "out",
    }  # fmt: skip
    bound = {}
    for name, source in plan.binding:
        kind, _, which = source.partition(":")
        text = reached.get(which or name) if kind in ("input", "extra") else sources.get(source)
        if text is None:
            raise NoShortSpelling(source)
        bound[name] = text
    yield f"returned = {call_text(f'theirs.{back.name}', back, bound)}"
    texts = []
    for text, leaf in leaves:
        pairs, _, _ = matched(found.claims, problem.leaves, {})
        claim = next(c for c, of in pairs if of == leaf)
        place = part_of(found.returned, back.returned, claim, "returned")
        if place is None:
            raise NoShortSpelling(text)
        texts.append(f"{text!r}: np.asarray({place})")
    yield f"return {{{', '.join(texts)}}}"

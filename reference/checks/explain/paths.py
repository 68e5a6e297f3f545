"""Mistakes in which paths a gradient takes: one left out, one counted twice, none back in time.

Each term of δv = Σ_u (∂u/∂v)ᵀ δu is a path that may be missing ("the path through mu is left
out"), or that may take the cotangent from before a slope, while the others are right:

    δz = δa · f′(z);   what goes back in time takes Wᵀ δa where Wᵀ δz belongs
"""

from collections.abc import Iterator, Mapping, Sequence

from reference.checks.code import Path
from reference.checks.explain.graph import Array, Edit, Hook
from reference.checks.explain.hypothesis import CLAIMS, WHERE_ALONE, Hypothesis, Words, listed
from reference.checks.explain.links import (
    LOSS,
    Link,
    brought,
    families,
    few_links,
    head_of,
    links,
    own_places,
    pieces,
    scaled_links,
    stopped,
)
from reference.checks.explain.pairs import ElementwiseStep, pairs_of, slope_text
from reference.checks.explain.problem import ReadingProblem, close, ratio


def path_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield: one value or two held constant, one path left out."""
    known, inputs = pieces(problem), problem.outcome.inputs
    inner = [n for p, n in known.items() if p not in inputs]
    for named in inner:
        yield _held(problem, [named.path])
    small = [n for n in inner if n.places.size < max((m.places.size for m in inner), default=0)]
    for i, one in enumerate(small if len(small) <= 8 else ()):
        for other in small[i + 1 :]:
            if one.shape == other.shape:
                yield _held(problem, [one.path, other.path])
    for link in few_links(problem):
        yield multiplied(problem, link, "0", {})


def _held(problem: ReadingProblem, chosen: list[Path]) -> Hypothesis:
    known = pieces(problem)
    named = [known[p] for p in chosen]
    largest = max(n.places.size for n in known.values())
    of_all = all(n.places.size < largest and n.places.ndim for n in named)
    kind = " (the statistics depend on x, too: mean and variance)" if of_all else ""
    through = listed([n.text for n in named])
    words = Words(
        "path_left_out",
        f"{through} {'are' if len(named) > 1 else 'is'} held constant: {CLAIMS} "
        f"lacks the path (the term) through {through}{kind}.",
        f"{CLAIMS} without δ{named[0].text}",
        f"{CLAIMS} + the term through {through}",
    )
    cost, depth = 1.2 + 0.2 * len(chosen), max(n.top for n in named)
    return Hypothesis(lambda other: stopped(other, chosen), words.of, cost, depth)


# -- one path ----------------------------------------------------------------------------------


def multiplied(
    problem: ReadingProblem, link: Link, text: str, known: Mapping[int, float]
) -> Hypothesis:
    """Return the hypothesis that a path's term is a multiple of what it should be.

    text: how the multiple is written. known: the multiple in each problem, by the problem's id;
    one that is not there: 0.
    """
    v = pieces(problem)[link.v].text
    u = "the loss" if link.u == LOSS else pieces(problem)[link.u].text

    def edit(other: ReadingProblem) -> Edit | None:
        times = known.get(id(other)) if known else 0.0
        if times is None or link not in links(other):
            return None
        return scaled_links(other, [link], times)

    depth = max(own_places(problem, link.v), default=0)
    return Hypothesis(edit, _link_words(v, u, text).of, 1.8 if known else 1.4, depth)


_LINK_WORDS = {
    "0": (
        "path_left_out",
        "The path from {v} to {u} is left out: δ{v} lacks the term that comes back from {u}",
        "+ 0",
    ),
    "2": (
        "path_twice",
        "The path from {v} to {u} is counted twice (the term from {u} has a factor 2 too many)",
        "+ 2·{term}",
    ),
    "−1": ("path_sign", "The term that comes back from {u} to {v} has the wrong sign", "− {term}"),
    "": (
        "path_factor",
        "The term that comes back from {u} to {v} is {text} times as large as it should be: a "
        "constant factor in it is wrong{kind}",
        "+ {text}·{term}",
    ),
}
"""By how the multiple of a term is written: the name, the sentence, the term in a sum."""


def _link_words(v: str, u: str, text: str) -> Words:
    name, sentence, yours = _LINK_WORDS.get(text, _LINK_WORDS[""])
    term = f"δ{u}·∂{u}/∂{v}"
    parts = {"v": v, "u": u, "text": text, "term": term, "kind": _kind_of_factor(text)}
    return Words(
        name,
        f"{sentence.format(**parts)}{WHERE_ALONE}.",
        f"δ{v} = … {yours.format(**parts)}",
        f"δ{v} = … + {term}",
        f" (in {CLAIMS} alone)",
    )


def _kind_of_factor(text: str) -> str:
    if " − 1" in text:
        return (
            " (N where N − 1 stands in an unbiased variance or standard deviation, or the reverse)"
        )
    counted = " (a count: it is added once for each class where it belongs once, or divided by it)"
    return counted if "shape" in text else ""


def times_of(got: Array, now: Array, without: Array) -> float | None:
    """Return the t with got = without + t · (now − without), or None."""
    return ratio(got - without, now - without) if not close(now, without) else None


# -- from step to step -------------------------------------------------------------------------


def step_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every list of values: no path from one step to the one before, or none at all."""
    for key, members in families(problem).items():
        if _in_time(problem, members):
            yield _not_in_time(problem, key)
        yield _held_family(problem, key)


def _in_time(problem: ReadingProblem, members: Sequence[Path]) -> list[Link]:
    return [x for x in links(problem) if x.v in members and x.u in members]


def _top(problem: ReadingProblem, key: Path) -> int:
    return max(pieces(problem)[m].top for m in families(problem)[key])


def _not_in_time(problem: ReadingProblem, key: Path) -> Hypothesis:
    head = head_of(problem, key)

    def edit(other: ReadingProblem) -> Edit | None:
        mine = families(other).get(key)
        return scaled_links(other, _in_time(other, mine), 0.0) if mine else None

    words = Words(
        "not_passed_back_in_time",
        f"The gradient of {head} is not passed back to the step before: δ{head}[t−1] lacks the "
        f"path from {head}[t] (every time step is treated alone).",
        f"δ{head}[t−1] = the term of its own step",
        f"δ{head}[t−1] = the term of its own step + δ{head}[t]·∂{head}[t]/∂{head}[t−1]",
    )
    return Hypothesis(edit, words.of, 1.1, _top(problem, key))


def _held_family(problem: ReadingProblem, key: Path) -> Hypothesis:
    head = head_of(problem, key)
    words = Words(
        "path_left_out",
        f"{CLAIMS} lacks the path (the term) through {head}: nothing is passed back through it.",
        f"δ{head} is not used",
        f"δ{head} is passed on",
    )

    def edit(other: ReadingProblem) -> Edit | None:
        return stopped(other, families(other).get(key, []))

    return Hypothesis(edit, words.of, 1.6, _top(problem, key))


# -- from before a slope -----------------------------------------------------------------------

Jump = tuple[Path, Path, Path]
"""A pair (by its key), the piece of its result that is meant, the value that gets δa for δz."""


def before_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every step and every inner value before it: that way takes δa in place of δz."""
    pairs = pairs_of(problem)
    for pair in pairs:
        for jump in _jumps(problem, pair):
            if jump[2] not in problem.outcome.inputs:
                yield _before(pair, pieces(problem)[jump[2]].text, [jump], 1.6)
    for key, members in families(problem).items():
        mine = [p for p in pairs if any(u in members for u in _parts(problem, p))]
        if any(j[2] in members for p in mine for j in _jumps(problem, p)):
            yield _before(mine[0], f"{head_of(problem, key)}[t−1]", key, 1.3)


def _before(pair: ElementwiseStep, v: str, jumps: list[Jump] | Path, cost: float) -> Hypothesis:
    """Return the hypothesis about some jumps, or about those between the members of a family."""

    def edit(other: ReadingProblem) -> Edit | None:
        if isinstance(jumps, list):
            return _edit(other, jumps)
        members = families(other).get(jumps, [])
        found = [j for p in pairs_of(other) for j in _jumps(other, p)]
        return _edit(other, [j for j in found if j[1] in members and j[2] in members])

    a, slope = pair.a.head, slope_text(pair)
    if pair.scales and not pair.function:
        words = Words(
            "path_skips_factor",
            f"The gradient that goes back to {v} lacks the factor by which the forward multiplies "
            f"{a}; on the other paths it is there ({CLAIMS}).",
            f"δ{v} from δ{a}",
            f"δ{v} from δ{a} · the factor",
        )
    else:
        words = Words(
            "path_skips_activation",
            f"The gradient that goes back to {v} uses δ{a}, before its derivative, instead of "
            f"δ{a} · {slope}, after the slope (the derivative is left out on this path alone; "
            f"{CLAIMS}).",
            f"δ{v} from δ{a}",
            f"δ{v} from δ{a} · {slope}",
        )
    return Hypothesis(edit, words.of, cost, pair.z.top)


def _parts(problem: ReadingProblem, pair: ElementwiseStep) -> list[Path]:
    """Return the pieces that a pair's result is: itself, or h[0], h[1] of an array of steps."""
    known = pieces(problem)
    return [pair.a.path] if pair.a.path in known else [p for p in known if p[:-1] == pair.a.path]


def _jumps(problem: ReadingProblem, pair: ElementwiseStep) -> list[Jump]:
    """Return the direct ways from a step's result (or the argument of it) to what is before."""
    found: list[Jump] = []
    for u in _parts(problem, pair):
        ends = {u, pair.z.path}
        found += [(pair.key, u, x.v) for x in links(problem) if x.u in ends and x.v not in ends]
    return found


def _edit(problem: ReadingProblem, jumps: Sequence[Jump]) -> Edit | None:
    known = {p.key: p for p in pairs_of(problem)}
    hooks: dict[int, list[Hook]] = {}
    for key, u, v in jumps:
        own = own_places(problem, v)
        if key not in known or not own or u not in pieces(problem):
            return None
        hooks.setdefault(own[-1], []).append(_hook(problem, known[key], u, v))
    return Edit(hooks=hooks) if hooks else None


def _hook(problem: ReadingProblem, pair: ElementwiseStep, u: Path, v: Path) -> Hook:
    mine = set(pieces(problem)[u].flat)
    both = zip(pair.a.flat, pair.z.flat, strict=True)
    places = [(a, z) for a, z in both if a in mine and a >= 0 and z >= 0]

    def hook(adjoints: list[float]) -> None:
        more = {z: adjoints[a] - adjoints[z] for a, z in places}
        for place, value in brought(problem, v, more).items():
            adjoints[place] += value

    return hook

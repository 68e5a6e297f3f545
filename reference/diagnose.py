"""Which mistake makes this wrong gradient, and where it sits.

Localisation first: the cotangent, going back from the loss, that is wrong while what it was made
from is right. Then each wrong problem is explained (`diagnosis.search`), and the fewest mistakes
that explain them all are named: only what reproduces the gradient to rounding in several
problems. What has no name is described in words, or reported as fitting nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reference.diagnosis.closeness import difference
from reference.diagnosis.describe import ArrayPair, describe
from reference.diagnosis.mistakes import CATALOGUE, FaultSite, Mistake, backward_with
from reference.diagnosis.search import GradientEvidence, PartialExplanation, explain
from reports.checked import problems_text

SEVERAL = 3
"""A name is given only when this many problems (or all there are, if fewer) show it."""
_SEARCHED = 6  # wrong problems that the whole catalogue is tried on
_MAX_MISTAKES = 6  # different ones in a target; beyond that nobody is helped by a list


@dataclass(frozen=True)
class Location:
    """Where the first mistake is: the tensor that goes wrong first, and all that are wrong."""

    tensor: str
    wrong: tuple[str, ...]
    inferred: bool = False
    """True where the tensor itself was not given: the pattern of wrong ones points to it."""

    def sentence(self) -> str:
        """Return where it is, in one line."""
        how = "by the pattern of wrong tensors" if self.inferred else "going back from the loss"
        return f"first wrong, {how}: {self.tensor}; wrong in all: {', '.join(self.wrong)}"


@dataclass(frozen=True)
class DiagnosedMistake:
    """A mistake of the catalogue that reproduces the wrong gradient, with what else it could be."""

    mistake: Mistake
    places: tuple[str, ...]
    matched: int
    """In how many of the wrong problems it shows, alone or among others."""
    explained: int
    """How many of them are reproduced by the mistakes named together."""
    of: int
    remaining: float
    equally: tuple[str, ...] = ()

    def evidence(self) -> str:
        """Return what the name rests on."""
        text = (
            "a right backward with this mistake put in gives these numbers ("
            + (f"difference {self.remaining:.0e}" if self.remaining else "no difference")
            + f", in {self.explained} of the {problems_text(self.of)} compared)"
        )
        if self.matched < self.explained:
            text += f"; it shows in {self.matched} of them"
        return text + (f" (as would: {', '.join(self.equally[:3])})" if self.equally else "")


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a wrong gradient."""

    location: Location | None
    named: tuple[DiagnosedMistake, ...] = ()
    described: tuple[tuple[str, str], ...] = ()
    """(tensor, in words) where no mistake of the catalogue fits."""
    firsts: tuple[str | None, ...] = ()
    """The tensor of the first mistake in each problem, where an explanation was found."""

    @property
    def names(self) -> set[str]:
        """The names of the mistakes found."""
        return {n.mistake.name for n in self.named}


def locate(evidence: GradientEvidence) -> Location | None:
    """Return the first wrong step; None where all is right.

    Where the steps' cotangents were not given, weight and bias of one layer that are both wrong
    point to the cotangent they share.
    """
    wrong = evidence.wrong
    if not wrong:
        return None
    first, given = wrong[0], evidence.gradients
    layer = first.rpartition(".")[0]
    shared = f"{layer}.z"
    if first == f"{layer}.weight" and shared not in given:
        bias = f"{layer}.bias"
        if bias in wrong or (bias not in given and f"{layer}.bias" not in evidence.right):
            return Location(shared, tuple(wrong), inferred=True)
    return Location(first, tuple(wrong))


def diagnose(evidence: Sequence[GradientEvidence]) -> Diagnosis:
    """Locate and name the mistakes behind one target's gradients on several problems."""
    wrong = [e for e in evidence if e.wrong]
    if not wrong:
        return Diagnosis(None)
    # What tells most comes first: float64, and more samples than one.
    wrong.sort(key=lambda e: (e.problem.dtype != np.float64, e.problem.batch == 1))
    # A few problems settle which mistakes; the others are then only asked whether these fit.
    explained = [explain(e) for e in wrong[:_SEARCHED]]
    chosen = _cover([[s.named for s in states] for states in explained])
    explained += [explain(e, frozenset(chosen)) for e in wrong[_SEARCHED:]]
    named: list[DiagnosedMistake] = []
    places: dict[str, Counter[str]] = {name: Counter() for name in chosen}
    matched: Counter[str] = Counter()
    remaining: dict[str, float] = dict.fromkeys(chosen, 0.0)
    unexplained: Counter[str] = Counter()
    whole = 0
    firsts: dict[int, str] = {}
    for e, states in zip(wrong, explained, strict=True):
        state = _satisfied(states, chosen)
        if state is None:
            unexplained.update([e.wrong[0]])
            continue
        unexplained.update(state.unexplained)
        whole += not state.unexplained
        injected = {
            p: CATALOGUE[next(n for n in chosen if n in ns)] for p, ns in state.named.items()
        }
        # Rounding in float32 would hide how near the others come.
        exact = e.problem.dtype == np.float64 or all(w.problem.dtype == np.float32 for w in wrong)
        left = _remaining(e, injected) if exact and not state.unexplained else 0.0
        depth = len(e.problem.network.layers)
        seen = [*state.unexplained, *(p.tensor(depth) for p in injected)]
        if seen:
            firsts[id(e)] = min(seen, key=_natural)
        for place, mistake in injected.items():
            places[mistake.name][place.tensor(depth)] += 1
            remaining[mistake.name] = max(remaining[mistake.name], left)
        matched.update({m.name for m in injected.values()})
    for name in chosen:
        if matched[name] >= min(SEVERAL, len(evidence)):
            named.append(
                DiagnosedMistake(
                    CATALOGUE[name],
                    tuple(sorted(places[name], key=_natural)),
                    matched[name],
                    whole,
                    len(wrong),
                    remaining[name],
                    _equally(name, chosen, explained[:_SEARCHED]),
                )
            )
    location = _commonest(filter(None, map(locate, wrong)))
    if location and named:  # where a step was not given, the mistake says more than the pattern
        known = firsts if location.inferred else {}
        tensor = Counter(known.values()).most_common(1)
        location = replace(location, tensor=tensor[0][0]) if tensor else location
    described = _described(wrong, unexplained) if unexplained or not named else ()
    # What holds in every problem says more than a mistake that fits a few of them by chance.
    in_words = {tensor for tensor, _ in described}
    if 2 * whole < len(wrong) and all(in_words.issuperset(n.places) for n in named):
        named = []
    at = tuple(firsts.get(id(e)) for e in evidence)
    return Diagnosis(location, tuple(named), described, at)


def _cover(problems: Sequence[Sequence[Mapping[FaultSite, frozenset[str]]]]) -> list[str]:
    """Return few names that explain as many problems as can be, the most telling first.

    A problem is explained when in one of its explanations every place has a chosen name. Greedy:
    the name that explains most further problems; where none does, the one that occurs in most.
    """
    chosen: list[str] = []
    # Of two that fit equally well, the one of this very operation is the better sentence.
    order = {
        m.name: (not m.operations, m.line != "loss", k) for k, m in enumerate(CATALOGUE.values())
    }

    def explained(states: Sequence[Mapping[FaultSite, frozenset[str]]], names: set[str]) -> bool:
        return any(all(ns & names for ns in s.values()) for s in states)

    rest = [states for states in problems if any(states)]
    while len(chosen) < _MAX_MISTAKES:
        rest = [states for states in rest if not explained(states, set(chosen))]
        if not rest:
            break
        occurs = Counter(n for states in rest for n in {m for s in states for ns in s.values()
                                                        for m in ns})  # fmt: skip
        further = {n: sum(explained(s, {*chosen, n}) for s in rest) for n in occurs}
        free = [n for n in occurs if n not in chosen]
        if not free:
            break
        chosen.append(min(free, key=lambda n: (-further[n], -occurs[n], order[n])))
    # A name taken early, for want of a better one, may have become superfluous.
    for name in list(chosen):
        others = set(chosen) - {name}
        if all(explained(states, others) == explained(states, set(chosen)) for states in problems):
            chosen.remove(name)
    return chosen


def _satisfied(
    states: Sequence[PartialExplanation], chosen: Sequence[str]
) -> PartialExplanation | None:
    names = set(chosen)
    fitting = [s for s in states if all(ns & names for ns in s.named.values())]
    return min(fitting, key=lambda s: len(s.unexplained), default=None)


def _remaining(evidence: GradientEvidence, injected: Mapping[FaultSite, Mistake]) -> float:
    """Return the largest scaled difference that is left with the mistakes made by us as well."""
    made = backward_with(evidence.problem, evidence.walk.trace, injected)
    given = evidence.gradients
    return max((difference(given[n], made[n]) for n in made if n in given), default=0.0)


def _equally(
    name: str, chosen: Sequence[str], explained: Sequence[Sequence[PartialExplanation]]
) -> tuple[str, ...]:
    """Return the mistakes that would explain as much in the place of this one."""
    others = [n for n in chosen if n != name]
    mine = [states for states in explained if _satisfied(states, others) is None]
    mine = [states for states in mine if _satisfied(states, chosen) is not None]
    names = {n for states in mine for s in states for ns in s.named.values() for n in ns}
    return tuple(
        n for n in CATALOGUE
        if n in names and n not in chosen
        and all(_satisfied(states, [*others, n]) is not None for states in mine)
    )  # fmt: skip


def _commonest(locations: Iterable[Location]) -> Location | None:
    """Return the location met most often, the first of them."""
    found = list(locations)
    counts = Counter((x.tensor, x.inferred) for x in found)
    return max(found, key=lambda x: counts[x.tensor, x.inferred], default=None)


def _described(
    wrong: Sequence[GradientEvidence], unexplained: Counter[str]
) -> tuple[tuple[str, str], ...]:
    """Describe the tensors where the search gave up, or the first wrong one."""
    names = [n for n, _ in unexplained.most_common(3)] or [wrong[0].wrong[0]]
    found: list[tuple[str, str]] = []
    for name in names:
        for tensor in _given_for(name, wrong):
            text = describe([_pair(e, tensor) for e in wrong if tensor in e.gradients])
            if text:
                found.append((tensor, text))
                break
    return tuple(found)


def _given_for(name: str, wrong: Sequence[GradientEvidence]) -> list[str]:
    """Return the tensors to look at for a step: itself, or what is made from it."""
    layer, _, step = name.rpartition(".")
    names = [name] if step not in ("a", "z") else [name, f"{layer}.weight", f"{layer}.bias"]
    return [n for n in names if any(n in e.gradients for e in wrong)]


def _pair(evidence: GradientEvidence, tensor: str) -> ArrayPair:
    """Return a wrong tensor beside the right one, with what may have slipped in."""
    problem, steps = evidence.problem, evidence.walk.trace.steps
    layer, _, step = tensor.rpartition(".")
    known = {"the number 1": np.ones((), problem.dtype)}
    known |= {n: v for n, v in {**problem.parameters, **steps}.items() if n.startswith(layer)}
    known |= {"x": problem.x}
    known |= {f"the gradient of {n}": v for n, v in evidence.right.items() if n != tensor}
    shape = evidence.right[tensor].shape
    sizes = {"N": problem.batch, "C": problem.network.widths[-1]}
    if step == "weight":
        sizes |= {"D_in": shape[0], "D_out": shape[1]}
    return ArrayPair(evidence.gradients[tensor], evidence.right[tensor], known, sizes)


def _natural(tensor: str) -> tuple[int, int]:
    """Sort from the loss back."""
    parts = tensor.split(".")
    if len(parts) == 1:
        return (1, 0)  # x, the last one made
    return (-int(parts[1]), ("a", "z", "weight", "bias").index(parts[2]))

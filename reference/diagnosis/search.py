"""Explains one wrong gradient of one problem: the fewest mistakes that reproduce what was given.

The search goes back from the loss, layer by layer. At each layer it tries the right formula and
every known mistake, and keeps those that reproduce all gradients that the target gave there. If the
target gave the gradient of an intermediate step, the search continues from that value, so that
errors which only follow from it are not counted as new mistakes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from manual_backprop.network import Problem, backward
from manual_backprop.operation import FloatArray
from reference.diagnosis.closeness import same_to_rounding
from reference.diagnosis.mistakes import CATALOGUE, DenseLine, FaultSite, Line
from reference.diagnosis.mistakes.catalogue import LineName, right_of
from reference.diagnosis.mistakes.walk import LineWalk

_STATES = 10  # alternatives kept while walking back
_WEIGHTS = np.cos(np.arange(1, 4097))  # weights of a checksum; they are all different


@dataclass(frozen=True)
class GradientEvidence:
    """A problem and the gradients that a target gave for it: all of them or some."""

    problem: Problem
    gradients: Mapping[str, FloatArray]

    @cached_property
    def walk(self) -> LineWalk:
        """The right backward, line by line."""
        return LineWalk(self.problem)

    @cached_property
    def right(self) -> dict[str, FloatArray]:
        """The right cotangents."""
        with np.errstate(all="ignore"):
            return backward(self.problem, self.walk.trace)

    @cached_property
    def wrong(self) -> list[str]:
        """The tensors that are wrong, in the order of the backward."""
        names = cotangent_names(self.problem)
        return [n for n in names if n in self.gradients and not self.agrees(n)]

    def agrees(self, name: str) -> bool:
        """Say whether a given tensor is right to rounding."""
        return same_to_rounding(self.gradients[name], self.right[name])


@dataclass(frozen=True)
class LineCandidate:
    """A value that a line may have computed: the right one, or that of a mistake.

    `names` are the mistakes that give this value here; it is empty for the right value.
    """

    value: FloatArray
    names: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class PartialExplanation:
    """One explanation so far, on the way back: which names fit at which place.

    `dense` has the lines of the layer that is one step nearer to the loss; the next cotangent is
    computed from them (None before the last layer, whose cotangent comes from the loss).
    """

    named: Mapping[FaultSite, frozenset[str]] = field(default_factory=dict)
    dense: DenseLine | None = None
    layer: int = 0
    unexplained: tuple[str, ...] = ()
    lost: bool = False
    """True where the target's cotangent is unknown from here on: nothing before can be judged."""

    @property
    def upstream(self) -> FaultSite:
        """The place that makes the next cotangent."""
        return (
            FaultSite("loss", self.layer) if self.dense is None else FaultSite("below", self.layer)
        )


def cotangent_names(problem: Problem) -> list[str]:
    """Return the names of all cotangents in the order in which a backward makes them."""
    names: list[str] = []
    for i in reversed(range(len(problem.network.layers))):
        names += [f"layers.{i}.{step}" for step in ("a", "z", "weight", "bias")]
    return [*names, "x"]


def explain(
    evidence: GradientEvidence, names: frozenset[str] | None = None
) -> list[PartialExplanation]:
    """Return the explanations of all given gradients with the fewest mistakes.

    `names` restricts the mistakes that are tried; None: all of the catalogue.
    """
    with np.errstate(all="ignore"):
        return _Search(evidence, names).run()


def candidates(
    name: LineName, line: Line, names: frozenset[str] | None = None
) -> list[LineCandidate]:
    """Return what the line may compute: the right value first, then every visible mistake's.

    Mistakes that give the same value here share an option; one that changes nothing is left out.
    """
    options = [LineCandidate(right_of(name, line))]
    sums = [_checksum(options[0].value)]
    for mistake, value in _made(name, line, names):
        total = _checksum(value)
        for k, option in enumerate(options):
            # A sum tells most arrays apart, for a tenth of the time.
            near = abs(total - sums[k]) <= 1e-3 * abs(total) or total != total
            if near and same_to_rounding(value, option.value):
                if k:
                    options[k] = LineCandidate(option.value, option.names | {mistake})
                break
        else:
            options.append(LineCandidate(value, frozenset({mistake})))
            sums.append(total)
    return options


def fitting(
    name: LineName, line: Line, observed: FloatArray, names: frozenset[str] | None = None
) -> frozenset[str] | None:
    """Return the mistakes that give the observed value.

    The set is empty if the right line gives it; None is returned if nothing does.
    """
    if same_to_rounding(observed, right_of(name, line)):
        return frozenset()
    found = {m for m, v in _made(name, line, names) if same_to_rounding(observed, v)}
    if name == "weight" and not found and isinstance(line, DenseLine):
        decay = "weight_decay_added"
        if (names is None or decay in names) and decay_rate(line, observed):
            return frozenset({decay})
    return frozenset(found) or None


def _made(
    name: LineName, line: Line, names: frozenset[str] | None
) -> Iterator[tuple[str, FloatArray]]:
    for mistake in CATALOGUE.values():
        if mistake.line == name and (names is None or mistake.name in names):
            if mistake.applies(line):
                yield mistake.name, mistake.make(line)


def _checksum(value: FloatArray) -> float:
    """Return a sum in which every entry has another weight."""
    flat = value.ravel()
    if flat.size > len(_WEIGHTS):
        return float("nan")
    return float(flat @ _WEIGHTS[: flat.size])


class _Search:
    """The walk back over one problem."""

    def __init__(self, evidence: GradientEvidence, names: frozenset[str] | None) -> None:
        self.walk, self.given, self.names = evidence.walk, evidence.gradients, names

    def run(self) -> list[PartialExplanation]:
        states = [PartialExplanation(layer=self.walk.depth - 1)]
        for layer in reversed(range(self.walk.depth)):
            grown = [s for state in states for s in self.layer(layer, state)]
            # With one more mistake here, the earlier layers may need several fewer.
            states = _cheapest(grown, slack=1)[:_STATES]
        return _cheapest([self.finish(s) for s in states])

    def options(self, state: PartialExplanation) -> list[LineCandidate]:
        """Return what the cotangent that comes next may be."""
        if state.dense is None:
            return candidates("loss", self.walk.loss(), self.names)
        return candidates("below", state.dense, self.names)

    def upstream(self, state: PartialExplanation, observed: FloatArray) -> frozenset[str] | None:
        """Return which mistakes make the cotangent that was given next; None where none does."""
        if state.dense is None:
            return fitting("loss", self.walk.loss(), observed, self.names)
        return fitting("below", state.dense, observed, self.names)

    def layer(self, layer: int, state: PartialExplanation) -> list[PartialExplanation]:
        """Extend one explanation by a layer."""
        if state.lost:
            return [state]
        observed = self.given.get(f"layers.{layer}.a")
        if observed is None or observed.shape != self.walk.trace.steps[f"layers.{layer}.a"].shape:
            ups = self.options(state)
        else:
            names = self.upstream(state, observed)
            # From here on the target's value is used: what it computed from it is compared with
            # the right result for this value.
            ups = [LineCandidate(observed, names or frozenset())]
            if names is None:
                state = replace(state, unexplained=(*state.unexplained, f"layers.{layer}.a"))
        found: list[PartialExplanation] = []
        for most in (0, 1, 2):  # mistakes on the way to δz: none, one, or one on each of two lines
            for up in ups:
                new_up = int(bool(up.names) and len(ups) > 1)
                if new_up <= most:
                    found += self.step(layer, state, up, most - new_up, max_wrong=2 - most)
            if found and min(len(s.named) for s in found) - len(state.named) <= most:
                break  # an explanation with one more mistake before δz has more in all
        return found or [self.give_up(layer, state, ups)]

    def step(
        self, layer: int, state: PartialExplanation, up: LineCandidate, left: int, *, max_wrong: int
    ) -> list[PartialExplanation]:
        """Return the explanations with one choice of δa and `left` mistakes (0, 1) on δz."""
        line = self.walk.activation(layer, up.value)
        observed = self.given.get(f"layers.{layer}.z")
        if observed is not None:
            names = fitting("activation", line, observed, self.names)
            options = [] if names is None else [LineCandidate(observed, names)]
        elif left:
            options = candidates("activation", line, self.names)[1:]
        else:
            options = [LineCandidate(line.right)]
        found: list[PartialExplanation] = []
        for option in options:
            dense = self.walk.dense(layer, option.value, up.value)
            own = self.own_lines(layer, dense, max_wrong=max_wrong)
            if own is not None:
                named = dict(state.named) | own
                if up.names:
                    named[state.upstream] = up.names
                if option.names:
                    named[FaultSite("activation", layer)] = option.names
                found.append(PartialExplanation(named, dense, layer, state.unexplained))
        return found

    def own_lines(
        self, layer: int, line: DenseLine, *, max_wrong: int
    ) -> dict[FaultSite, frozenset[str]] | None:
        """Return the mistakes that explain the wrong ones of weight and bias.

        None if more than `max_wrong` of them are wrong, or if one cannot be explained.
        """
        needed: dict[FaultSite, frozenset[str]] = {}
        wrong = list(self.wrong_parameters(layer, line))
        if len(wrong) > max_wrong:
            return None
        for name, observed in wrong:
            names = fitting(name, line, observed, self.names)
            if not names:
                return None
            needed[FaultSite(name, layer)] = names
        return needed

    def wrong_parameters(
        self, layer: int, line: DenseLine
    ) -> Iterator[tuple[LineName, FloatArray]]:
        """Yield weight and bias where they do not follow from the cotangent of z."""
        own: tuple[LineName, ...] = ("weight", "bias")
        for name in own:
            observed = self.given.get(f"layers.{layer}.{name}")
            if observed is not None and name in line.right:
                if not same_to_rounding(observed, line.right[name]):
                    yield name, observed

    def give_up(
        self, layer: int, state: PartialExplanation, ups: list[LineCandidate]
    ) -> PartialExplanation:
        """Go on from the target's cotangent; if there is none, no earlier layer can be judged."""
        name, da = f"layers.{layer}", ups[0].value
        line = self.walk.activation(layer, da)
        named, unexplained = dict(state.named), list(state.unexplained)
        if ups[0].names:
            named[state.upstream] = ups[0].names
        observed = self.given.get(f"{name}.z")
        known = observed is not None and observed.shape == line.right.shape
        dz = line.right if observed is None or not known else observed
        if not known:
            unexplained.append(f"{name}.z")
        elif not same_to_rounding(dz, line.right):
            names = fitting("activation", line, dz, self.names)
            if names:
                named[FaultSite("activation", layer)] = names
            else:
                unexplained.append(f"{name}.z")
        dense = self.walk.dense(layer, dz, da)
        for parameter, value in self.wrong_parameters(layer, dense) if known else ():
            names = fitting(parameter, dense, value, self.names)
            if names:
                named[FaultSite(parameter, layer)] = names
            else:
                unexplained.append(f"{name}.{parameter}")
        return PartialExplanation(named, dense, layer, tuple(unexplained), lost=not known)

    def finish(self, state: PartialExplanation) -> PartialExplanation:
        """Explain the cotangent of x, the last one made."""
        observed = self.given.get("x")
        if observed is None or state.lost:
            return state
        names = self.upstream(state, observed)
        if names is None:
            return replace(state, unexplained=(*state.unexplained, "x"))
        return replace(state, named={**state.named, state.upstream: names}) if names else state


def decay_rate(line: DenseLine, observed: FloatArray) -> float:
    """Return λ where λ W was added to the weight's gradient, else 0."""
    if observed.shape != line.weight.shape or not line.weight.any():
        return 0.0
    right, weight = line.right["weight"], line.weight
    with np.errstate(all="ignore"):
        rate = float(((observed - right) * weight).sum() / (weight * weight).sum())
        return rate if same_to_rounding(observed, right + rate * weight) else 0.0


def _cheapest(states: list[PartialExplanation], slack: int = 0) -> list[PartialExplanation]:
    """Return the states with the fewest unexplained tensors, those with the fewest mistakes first.

    A state may have up to `slack` mistakes more than the first.
    """
    left = min(len(s.unexplained) for s in states)
    whole = sorted((s for s in states if len(s.unexplained) == left), key=lambda s: len(s.named))
    return [s for s in whole if len(s.named) <= len(whole[0].named) + slack]

"""Finds how a target should be read: by trying layouts and bindings until the shapes fit.

A reading counts when the forward and the backward run, and the gradients have the shapes of the
inputs. Among several readings the one under which most is right is taken.
"""

import itertools
import math
import re
import sys
import types
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from reference.balls import Session
from reference.checks.code import (
    Path,
    Routine,
    Spec,
    Target,
    Unit,
    is_target,
    plain,
    raised_text,
    stem_of,
)
from reference.checks.code.second import NO_FIRST, OF_DIFFERENCES, is_a_difference
from reference.checks.code.signs import names_an_objective
from reference.checks.code.vocabulary import REGULARISATION
from reference.checks.comparing import Assessment, Objective, assess, differences
from reference.checks.comparing.objective import candidates
from reference.checks.judging.chosen import (
    Chosen,
    Extent,
    any_right,
    extent_of,
    loss_is_written,
    of_another_name,
    of_weights,
    partly_right,
    preference,
    says_nothing,
)
from reference.checks.reading import bindings, layouts, requests, weight_names
from reference.checks.reading.shapes import bias_names
from reference.checks.running import (
    ForwardFailed,
    Reading,
    RunOutcome,
    Unreadable,
    matched,
    perform,
    same_shape,
)
from reference.checks.tolerances import DIGITS

MAX_LAYOUTS = 3_000  # of one request
MAX_TRIES = (
    8_000  # runs of one forward and its backward; a count, so that a busy machine changes nothing
)
_FITS = 0.9  # a score from which on every claim has the shape of what it is of
_KEPT = 5  # readings of one request that are judged
_ALL_KEPT = 8


@dataclass
class Candidate:
    """A reading that runs, and how well the shapes of its gradients fit."""

    score: float
    reading: Reading
    outcome: RunOutcome


@dataclass
class Failure:
    """Why no reading was found."""

    reason: str
    raised: BaseException | None = None
    reading: Reading | None = None
    """The likeliest one, where only the backward failed."""
    tried: int = 0
    errors: list[str] = field(default_factory=list)
    raised_texts: set[str] = field(default_factory=set)
    """What the backward raised, under all readings whose forward ran."""
    returned: bool = False
    """Whether the backward ran under one of them, and gave nothing to compare."""


def search(unit: Unit, target: Target, seed: int, shapes: dict[str, Spec]) -> Chosen | Failure:
    """Return the reading of a unit under which most is right, or why there is none.

    Layouts are tried in their order; a reading that fits is judged at once, and the first under
    which all is right ends the search. Where none is, the best of the first few is taken.
    """
    failure = Failure("no arguments were found that it runs with")
    if unit.second and not unit.partners:
        return Failure(NO_FIRST)
    if unit.second and is_a_difference(unit.backward, unit.partners):
        return Failure(OF_DIFFERENCES)
    routes: list[Routine | None] = [*unit.partners]
    if unit.alone:
        first = not unit.partners or _computes_itself(unit)
        routes = [None, *routes] if first else [*routes, None]
    chosen: list[Chosen] = []
    poor: list[Candidate] = []
    silent: list[Chosen] = []
    judged: set[_Shape] = set()
    wide: list[Extent] = []  # of what was judged, and is wrong
    for forward in routes:
        if forward is None and any(c.objective.written and c.reading.forward for c in chosen):
            break  # its forward is written: no loss has to be guessed
        if forward is None and any("is not installed" in e for e in failure.errors):
            break  # its forward is written as well
        fitting = 0
        for candidate in _runnable(unit, forward, target, seed, shapes, failure):
            extent = extent_of(candidate.reading.layout)
            if any(extent.narrower_than(w) for w in wide):
                continue  # one sample, or one unit, hides what several have shown
            if candidate.score < _FITS:
                poor.append(candidate)
                if _misshapen(candidate):
                    wide.append(extent.of_samples())
                continue
            left = any(text.startswith("IndexError") for text in failure.raised_texts)
            if forward is not None and candidate.reading.mode.of_twos and left:
                continue  # it leaves its arrays where the sizes differ from one another
            kinds = {s.kind for s in candidate.reading.layout.values()}
            narrowed = candidate.reading.mode.of_twos or kinds & set(_NARROW)
            if narrowed and _shape(candidate.reading) in judged:
                continue  # numbers inside (0, 1), or twos everywhere, hide what others have shown
            if any(_leaves_out(candidate.reading, c) for c in chosen):
                continue  # indices have no gradient that could be wrong
            one = _judged(candidate.reading, seed)
            if one is None:
                continue
            judged.add(_shape(candidate.reading))
            if one.objective.kind == "implicit" and loss_is_written(unit, chosen):
                break
            if one.objective.kind == "implicit" and any(c.binding for c in chosen):
                continue  # the file has a loss: none is guessed
            if not one.first.influence and not partly_right(one):
                silent.append(one)  # its loss depends on nothing that has a gradient here
                continue
            chosen.append(one)
            complete = one.first.all_right and one.first.influence and not one.first.unplaced
            if complete and _fits_other_sizes(one.reading, seed):
                return _of_several_windows(one, seed, shapes, failure) or one
            if narrow := _of_one_output(one, seed, failure):
                return narrow
            if not one.first.all_right:
                if partly_right(one):
                    wide.append(extent)
                elif one.objective.written or one.binding or of_weights(one):
                    wide.append(extent.of_samples())
            fitting += 1
            if any(r.right for r in one.first.rows):  # much is right: the reading is hardly wrong
                fitting = max(fitting, 3)
            if fitting >= _ALL_KEPT:
                break
    chosen = [c for c in chosen if not says_nothing(c.reading.layout, c.first)]
    poor.sort(key=lambda c: -c.score)
    if chosen:
        poor = [c for c in poor if _fits_as_jacobian(c.outcome)] if not any_right(chosen) else []
    found = [_judged(c.reading, seed) for c in poor[:_KEPT]]
    others = [c for c in found if c is not None and (c.first.rows or c.first.middle)]
    whole = [c for c in others if c.first.rows and all(r.jacobian for r in c.first.rows)]
    if any_right(whole) or all(extent_of(c.reading.layout).one_unit for c in chosen):
        chosen = whole or chosen  # a Jacobian fits; with one unit it has the shape of the weight
    silent = [c for c in silent if not says_nothing(c.reading.layout, c.first)]
    chosen = chosen or others or silent
    if not chosen:
        failure.returned = bool(poor)
        if poor and failure.raised is None:
            failure.reason = "nothing that came back could be compared with a gradient"
            failure.errors = []
        return failure
    if not any_right(chosen) and (why := _cannot_run(unit, chosen, failure)):
        failure.reason, failure.raised, failure.errors = why, None, []
        return failure
    if all(of_another_name(c) and not any(r.right for r in c.first.rows) for c in chosen):
        failure.reason, failure.raised, failure.errors = _NO_FORWARD, None, []
        return failure
    general_ones = [c for c in chosen if _fits_other_sizes(c.reading, seed)]
    return max(general_ones or chosen, key=preference)


def _of_one_output(one: Chosen, seed: int, failure: Failure) -> Chosen | None:
    """Return the reading with one output where all is right there, and off by one factor here.

    mean((a − y)²) with 2 (a − y)/N is right for one output; the code does not say how many, but
    where its class takes the number of outputs.
    """
    factors = [r.factor for r in one.first.rows if r.factor is not None]
    drawn = one.reading.layout
    promised = any(n.startswith("init.") and _OUTPUTS in s.dims for n, s in drawn.items())
    if one.objective.kind != "loss" or not factors or len(factors) < len(one.first.rows):
        return None
    if promised or one.first.all_right or np.ptp(factors) > DIGITS * abs(factors[0]):
        return None
    layout = {
        n: replace(s, dims=tuple("1" if d == _OUTPUTS else d for d in s.dims))
        for n, s in drawn.items()
    }
    if layout == drawn or not weight_names(list(layout)):
        return None
    candidate = _tried(replace(one.reading, layout=layout), seed, failure)
    if not isinstance(candidate, Candidate) or candidate.score < _FITS:
        return None
    found = _judged(candidate.reading, seed)
    if found is None or not found.first.all_right or not found.first.influence:
        return None
    found.narrow = True
    return found


_SLICE = r"\[[^\]\n]*\w\s*:\s*\w[^\]\n:]*\+"
_WINDOW = re.compile(rf"{_SLICE}|convolve|correlate|sliding_window_view")
"""x[i : i + k]: a part of an array, of the length of another."""


def _of_several_windows(
    one: Chosen, seed: int, given: Collection[str], failure: Failure
) -> Chosen | None:
    """Return a right reading with windows shorter than the signal, where the code runs with them.

    With one window, `=` in place of `+=` changes nothing.
    """
    reading, layout = one.reading, one.reading.layout
    code = (reading.forward.text() if reading.forward else "") + reading.unit.backward.text()
    arrays = [n for n, s in layout.items() if s.kind == "normal" and s.dims and n not in given]
    if not arrays or arrays[0].startswith("init.") or not _WINDOW.search(code):
        return None
    signal, *rest = arrays
    others = [
        n for n in rest if not is_target(n) and not re.search(rf"\b{re.escape(n)}{_SLICE}", code)
    ]
    for letter in reversed(layout[signal].dims):
        windows = [n for n in others if letter in layout[n].dims]
        taken = {d for s in layout.values() for d in s.dims} - {letter}
        if not windows or taken & {"T", "K"}:
            continue
        for some in dict.fromkeys([tuple(windows), *((n,) for n in windows)]):
            longer = {signal: "T"} | dict.fromkeys(some, "K")
            split = {
                n: replace(s, dims=tuple(longer.get(n, d) if d == letter else d for d in s.dims))
                for n, s in layout.items()
            }
            candidate = _tried(replace(reading, layout=split), seed, failure)
            if not isinstance(candidate, Candidate) or candidate.score < _FITS:
                continue
            found = _judged(candidate.reading, seed)
            if found is not None and _fits_other_sizes(candidate.reading, seed):
                return found
    return None


_NO_FORWARD = (
    "the function that it is the gradient of was not found: none of the file has its name, and "
    "it is not the gradient of those with its arguments"
)


def _cannot_run(unit: Unit, chosen: list[Chosen], failure: Failure) -> str:
    """Return why a guessed loss is no ground for WRONG: the loss in the code did not run."""
    back = unit.backward.short
    stem = stem_of(back)

    def belongs(partner: Routine) -> bool:
        by_stem = bool(stem) and stem_of(partner.short) == stem
        return by_stem or plain(back) == "d" + plain(partner.short)

    named = next(filter(belongs, unit.partners), None)
    guessed = all(c.reading.forward is None and not c.objective.written for c in chosen)
    if named is None or not guessed:
        return ""
    last = f"; the last of its errors was {failure.errors[-1]}" if failure.errors else ""
    return f"{named.name} could not be run with what its gradient takes{last}"


_Shape = tuple[object, ...]
_NARROW = {"unit": "normal"}
_OUTPUTS = "C"  # the letter of how many outputs there are
_OTHER_SIZES = (1, 2, 3)  # problems whose sizes differ from the first one's


def _shape(reading: Reading) -> _Shape:
    """Return a reading without the ranges of its numbers and sizes."""
    drawn = tuple(
        (n, _NARROW.get(s.kind, s.kind), s.dims, s.high) for n, s in reading.layout.items()
    )
    return (drawn, reading.binding, reading.constructor)


def _leaves_out(reading: Reading, seen: Chosen) -> bool:
    """Whether it draws indices for an input whose gradient is wrong where numbers are drawn."""
    if seen.reading.binding != reading.binding or seen.first.all_right:
        return False
    labels = {n for n, s in reading.layout.items() if s.kind == "label"}
    return any(r.leaf[0] in labels and len(r.leaf) == 1 for r in seen.first.rows)


def _fits_other_sizes(reading: Reading, seed: int) -> bool:
    """Whether the forward runs in other problems too: two sizes may be equal in the first one."""
    raised = 0
    for index in _OTHER_SIZES:
        try:
            perform(reading, seed, index)
        except ForwardFailed:
            return False
        except Exception:
            raised += 1
    return reading.forward is not None or raised < len(_OTHER_SIZES)


def _misshapen(candidate: Candidate) -> bool:
    """Whether a layer's gradient has more axes than what it is of, or none, or is turned."""
    outcome = candidate.outcome
    pairs, _, _ = matched(outcome.claims, outcome.inputs, outcome.values, outcome.others)
    given, claimed = outcome.inputs, outcome.claims
    numbers = [c for c, p in pairs if not np.ndim(claimed[c]) and np.size(given[p]) > 1]
    sources = [source for _, source in candidate.reading.binding]
    slope = len(given) == 1 and not any(s.startswith("cotangent") for s in sources)
    if numbers and not slope:
        return True  # a bias that was summed over all units; the slope of 2x is a number
    rest = [c for c, _ in pairs if c not in numbers]
    if any(_cut(outcome, np.shape(outcome.claims[c])) for c in rest):
        return True  # one column is given back of several
    shapes = [(np.shape(claimed[c]), np.shape(given[p])) for c, p in pairs]
    return bool(outcome.cotangents) and any(
        len(got) > len(of) or (got != of and got == of[::-1]) for got, of in shapes
    )


def _cut(outcome: RunOutcome, shape: tuple[int, ...]) -> bool:
    """Whether the gradient of the one input lacks entries that it and the output both have."""
    if len(outcome.inputs) != 1 or len(outcome.cotangents) != 1:
        return False
    (given,), (_, cotangent) = outcome.inputs.values(), outcome.cotangents[0]
    full = np.shape(given)
    fits = len(shape) <= len(full) and all(
        a in (1, b) for a, b in zip(shape[::-1], full[::-1], strict=False)
    )
    return np.shape(cotangent) == full and fits and math.prod(shape) < math.prod(full)


def _computes_itself(unit: Unit) -> bool:
    """Whether a backward needs nothing of a forward: its arguments are inputs, targets, weights."""
    names = set(unit.backward.required)
    if any(set(p.required) == names for p in unit.partners):
        return False
    text = unit.backward.text()
    calls_forward = bool(re.search(r"forward|predict|feed", text.split("\n", 1)[-1]))
    if calls_forward:
        return True
    for partner in unit.partners:
        outs = set(re.findall(r"\w+", str(partner.returned)))
        if names & outs - set(partner.arguments):
            return False
    return not any("cache" in n.lower() for n in names)


def _judged(reading: Reading, seed: int) -> Chosen | None:
    """Return the best objective of a reading, on its first problem."""
    try:
        with Session() as session:
            outcome = perform(reading, seed, 0, session)
            best: tuple[Objective, Assessment] | None = None
            written: tuple[Objective, Assessment] | None = None
            multiple = ""
            for objective in itertools.islice(candidates(outcome), 40):
                found = assess(objective, outcome)
                if found is None:
                    continue
                if (objective.written or _binding_loss(objective, found, reading)) and (
                    written is None or found.rank > written[1].rank
                ):
                    written = (objective, found)
                elif objective.beside and found.common_factor is not None:
                    multiple = objective.output[-1]
                if best is None or found.rank > best[1].rank:
                    best = (objective, found)
                if best[1].all_right:
                    break
    except Exception as error:
        by = differences.judged(reading, seed)
        return Chosen(reading, *by, why=str(error), differences=True) if by else None
    if best is None:
        return None
    if written is None or best[0].written or _outranks(best[0], written[0]):
        guessed = best[0].kind == "implicit" and best[1].all_right
        return Chosen(reading, *best, multiple=multiple if guessed else "")
    if best[1].all_right and _averaged_later(*written, reading, outcome):
        return Chosen(reading, *best, multiple=written[0].output[-1])
    other = best[1] if best[1].all_right else None
    return Chosen(reading, *written, other, binding=written[0].beside)


def _averaged_later(
    objective: Objective, found: Assessment, reading: Reading, outcome: RunOutcome
) -> bool:
    """Whether it is N times the gradient of a loss beside it, and the file divides it later."""
    times = found.common_factor
    if times is None or not (objective.beside and reading.unit.averaged):
        return False
    return any(abs(times - outcome.sizes[k]) <= DIGITS * times for k in ("N", "T"))


def _binding_loss(objective: Objective, found: Assessment, reading: Reading) -> bool:
    """Whether the backward belongs to a loss beside it.

    Both take the regularisation, or it is a method of the same class or the file's only loss, and
    depends on all that has a gradient. Of several losses it is the one that it is a multiple of.
    """
    unit = reading.unit
    loss = next((f for f in unit.losses if f"{f.short}()" == objective.output[-1]), None)
    if loss is None or not objective.beside:
        return False
    strengths = {a.lower() for a in loss.arguments} & REGULARISATION
    if strengths & {a.lower() for a in unit.backward.arguments}:
        return True
    if not names_an_objective(loss):
        return False
    known = loss.owner is not None or len(unit.losses) == 1
    return found.influence if known else found.common_factor is not None


def _outranks(one: Objective, other: Objective) -> bool:
    """Whether a loss beside the backward goes before another one, or before a plain sum."""
    return one.beside and (other.beside or other.kind in ("sum", "mean"))


# -- readings that run -------------------------------------------------------------------------


def _runnable(
    unit: Unit,
    forward: Routine | None,
    target: Target,
    seed: int,
    shapes: dict[str, Spec],
    failure: Failure,
) -> Iterator[Candidate]:
    """Yield the readings that run, one layout after another, all bindings of each."""
    before = failure.tried
    modules = modules_of(unit, target)
    ways = [tuple(one.items()) for one in bindings(forward, unit.backward)]
    for request, constructor, fixed in requests(unit, forward, target, shapes):
        good = 0
        for mode, layout in itertools.islice(layouts(request), MAX_LAYOUTS):
            if failure.tried - before > MAX_TRIES:
                return
            best = -1.0
            for binding in ways:
                reading = Reading(unit, forward, mode, layout, binding, constructor, fixed, modules)
                failure.tried += 1
                one = _tried(reading, seed, failure)
                if one is None:
                    continue
                if isinstance(one, ForwardFailed):
                    break
                if one.score < _FITS:
                    one = _repaired(one, seed, failure) or one
                best = max(best, one.score)
                yield one
            good += best >= _FITS
            if good >= _KEPT:
                break


def _repaired(candidate: Candidate, seed: int, failure: Failure) -> Candidate | None:
    """Draw an input in the shape that its gradient came back in: s of (D,), not of (N, D)."""
    outcome, reading = candidate.outcome, candidate.reading
    pairs, _, _ = matched(outcome.claims, outcome.inputs, outcome.values, outcome.others)
    letters = {n: k for k, n in reversed(outcome.sizes.items())}
    layout = dict(reading.layout)
    for claim, leaf in pairs:
        name = leaf[0] if len(leaf) == 1 else f"{leaf[0]}[{leaf[1]}]"
        shape = np.shape(outcome.claims[claim])
        known = weight_names([name]) or bias_names([name]) or leaf == next(iter(outcome.inputs))
        smaller = len(shape) < np.ndim(outcome.inputs[leaf])
        if name not in layout or known or not smaller:
            continue
        layout[name] = replace(layout[name], dims=tuple(letters.get(n, str(n)) for n in shape))
    if layout == reading.layout:
        return None
    again = _tried(replace(reading, layout=layout), seed, failure)
    fits = isinstance(again, Candidate) and again.score > candidate.score
    return again if fits else None  # type: ignore[return-value]


def _tried(reading: Reading, seed: int, failure: Failure) -> Candidate | ForwardFailed | None:
    try:
        outcome = perform(reading, seed, 0)
    except ForwardFailed as error:
        _note(failure, error.__cause__ or error)
        return error
    except Unreadable:
        return None
    except Exception as error:
        failure.raised_texts.add(raised_text(error))
        if failure.raised is None or isinstance(failure.raised, TypeError):
            failure.raised, failure.reading = error, reading
            failure.reason = "its backward raised"
        return None
    return Candidate(_fit(outcome), reading, outcome)


def _note(failure: Failure, error: BaseException) -> None:
    text = raised_text(error)
    if text not in failure.errors:
        failure.errors.append(text)


def _fit(outcome: RunOutcome) -> float:
    """Return how well the claims fit: 1 or more where each has the shape of what it is of."""
    pairs, middle, left = matched(outcome.claims, outcome.inputs, outcome.values, outcome.others)
    if not pairs:
        return 0.2 if middle else -1.0
    score = 0.0
    for claim, leaf in pairs:
        same = same_shape(outcome.claims[claim], outcome.inputs[leaf])
        score += same if same else (-0.2 if _is_jacobian(outcome, claim, leaf) else -1.0)
        plain = np.asarray(outcome.claims[claim])
        if plain.dtype.kind == "f" and not np.isfinite(plain).all():
            score -= 0.6
    fit = score / len(pairs)
    return fit + 0.01 * len(pairs) - 0.02 * len(left) if fit > 0.99 else fit - 0.02 * len(left)


def _fits_as_jacobian(outcome: RunOutcome) -> bool:
    """Whether every claim has the shape of a Jacobian."""
    pairs, _, _ = matched(outcome.claims, outcome.inputs, outcome.values, outcome.others)
    return bool(pairs) and all(_is_jacobian(outcome, c, leaf) for c, leaf in pairs)


def _is_jacobian(outcome: RunOutcome, claim: Path, leaf: Path) -> bool:
    """Whether a claim has the shape of a Jacobian of the input, whole or by samples."""
    a, b = np.shape(outcome.claims[claim]), np.shape(outcome.inputs[leaf])
    size = np.size(outcome.inputs[leaf])
    if len(a) == 2 and a[-1] == size:
        return not outcome.paired or any(np.size(v) == a[0] for v in outcome.outputs.values())
    return len(a) >= 2 and a[-1] == a[-2] and (not b or a[-1] in b)


_LIBRARIES = frozenset("numpy reference manual_backprop builtins scipy torch jax".split())


def modules_of(unit: Unit, target: Target) -> tuple[types.ModuleType, ...]:
    """Return the modules whose NumPy is replaced: the target's, and those of its own folder."""
    found = [target.module]
    file = getattr(target.module, "__file__", None) or ""
    folder = file.rpartition("/")[0]
    for thing in [unit.owner, *vars(target.module).values()]:
        home = sys.modules.get(getattr(thing, "__module__", "") or "")
        if isinstance(thing, types.ModuleType):
            home = thing
        where = getattr(home, "__file__", None) or ""
        mine = folder and where.startswith(folder) and "site-packages" not in where
        at_hand = target.module.__name__ == "objects_at_hand" and home is not None
        library = (getattr(home, "__name__", "") or "").split(".")[0] in _LIBRARIES
        if home is not None and home not in found and (mine or at_hand) and not library:
            found.append(home)
    return tuple(found)

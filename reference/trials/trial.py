"""Validation of the checker: what it catches, its false alarms, and what it cannot see.

Seven parts, each a function that yields records: sensitivity (one entry slightly wrong, beside
torch's gradcheck and JAX's check_grads), mutants (the catalogue of mistakes and generated ones),
hidden faults (that show in few problems), translation (faults in our own calls of the frameworks),
diagnosis (injected mistakes located and named), false alarms (correct networks), and hiding places
(structures in which a mistake does not show).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from manual_backprop.network import Layer, Network, Problem, Reduction, Trace, forward
from manual_backprop.operation import FloatArray
from reference.diagnosis.closeness import difference
from reference.diagnosis.mistakes import CATALOGUE, FaultSite, Mistake, backward_with, places
from reference.formats import DTYPES
from reference.judge import judge_all
from reference.oracles import load
from reference.problems import check_seed, draw
from reference.translation import FRAMEWORKS
from reference.trials.diagnosis import diagnosis_rows
from reference.trials.faults import faults, hidden_faults, translation_faults
from reference.trials.mutation import mutants
from reference.trials.sensitivity import sensitivity
from reports.records import Limit, Record, TrialRow, Value


def trial(
    problems: int = 1000, seed: int = 0, progress: Callable[[str], None] = lambda text: None
) -> list[Record]:
    """Run all trials; `problems` is the number of correct networks judged for false alarms.

    `progress` is called with what is being done.
    """
    check_seed(seed)
    records: list[Record] = []
    sections: dict[str, Callable[[], Iterable[Record]]] = {
        "sensitivity": lambda: sensitivity(seed),
        "mutants": lambda: mutants(seed),
        "hidden faults": hidden_faults,
        "translation": lambda: [
            row for name in FRAMEWORKS for row in translation_faults(list(faults(name)))
        ],
        "diagnosis": lambda: diagnosis_rows(pairs=100, seed=seed),
        "false alarms": lambda: false_alarms(problems, seed),
        "hiding places": lambda: hiding_places(seed),
    }
    for number, (name, rows) in enumerate(sections.items(), 1):
        at = f"part {number} of {len(sections)}, {name}"
        progress(at)
        for record in rows():
            records.append(record)
            progress(f"{at}: {len(records)} rows so far")
    hidden = [r for r in records if isinstance(r, TrialRow) and r.section == "hiding places"]
    return [*records, *limits(hidden)]


# -- false alarms ---------------------------------------------------------------------------------


_BLOCK = 500  # networks that are judged at once


def false_alarms(
    problems: int,
    seed: int = 0,
    oracles: Sequence[str] = ("manual", "torch", "jax"),
) -> Iterator[TrialRow]:
    """Judge correct networks; an alarm is a verdict that names the hand-written gradient wrong."""
    sides = load(oracles)
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for start in range(0, problems, _BLOCK):
        drawn = [draw(seed, i) for i in range(start, min(start + _BLOCK, problems))]
        with np.errstate(all="ignore"):
            answers = {n: o.answers([d.problem for d in drawn]) for n, o in sides.items()}
        judgements = judge_all([d.problem for d in drawn], answers)
        for one, found in zip(drawn, judgements, strict=True):
            count = counts[one.cell.dtype, one.cell.regime]
            count["networks"] += 1
            count["digits lost"] += found.kind == "PRECISION" and "manual" in found.who
            count["false alarms"] += found.kind == "DEVIATES" and "manual" in found.who
    for dtype in DTYPES:
        for regime in sorted(regime for found, regime in counts if found == dtype):
            count = counts[dtype, regime]
            columns: dict[str, Value] = {
                k: count[k] for k in ("networks", "digits lost", "false alarms")
            }
            yield TrialRow(section="false alarms", row=f"{dtype}, {regime}", columns=columns)


# -- what cannot be seen --------------------------------------------------------------------------


class HidingStructure(NamedTuple):
    """The structure of networks in which a mistake may not show."""

    batch: int = 5
    widths: tuple[int, int, int] = (3, 5, 4)
    symmetric: bool = False
    weighted: bool = True
    reduction: Reduction = "mean"
    scale: float = 1.0
    shift: float = 0.0

    def problem(self, stream: np.random.Generator, activation: str, loss: str) -> Problem:
        """Draw a problem of the structure."""
        inside, *widths = self.widths
        layers = (Layer(widths[0], activation), Layer(widths[1]))
        network = Network(inside, layers, loss, {}, self.reduction)
        parameters = {
            k: self.scale * stream.standard_normal(s) for k, s in network.parameter_shapes().items()
        }
        parameters["layers.0.bias"] += self.shift
        if self.symmetric:
            for name in ("layers.0.weight", "layers.1.weight"):
                parameters[name] = parameters[name] + parameters[name].T
        shape = (self.batch, widths[-1])
        targets = {
            "cross_entropy": stream.integers(0, widths[-1], self.batch),
            "bce_with_logits": stream.uniform(0, 1, shape),
        }.get(loss, stream.standard_normal(shape))
        weights = stream.uniform(0.5, 2, self.batch) if self.weighted else None
        x = stream.standard_normal((self.batch, inside))
        return Problem(network, parameters, x, targets, weights)


_HIDING: dict[str, HidingStructure] = {
    "as drawn by default": HidingStructure(),
    "one sample": HidingStructure(batch=1),
    "every width 1": HidingStructure(widths=(1, 1, 1)),
    "square, symmetric weights": HidingStructure(widths=(3, 3, 3), symmetric=True, batch=3),
    "no sample weights, reduction sum": HidingStructure(weighted=False, reduction="sum"),
    "every weight zero": HidingStructure(scale=0.0),
    "every pre-activation positive": HidingStructure(shift=50.0),
}


def hiding_places(seed: int = 0) -> Iterator[TrialRow]:
    """Inject the catalogue into structures that hide mistakes; count what does not show at all."""
    for name, structure in _HIDING.items():
        injected, unseen = 0, []
        stream = np.random.default_rng([seed, 7])
        problems = [
            structure.problem(stream, activation, loss)
            for activation in ("tanh", "relu", "softmax", "gelu")
            for loss in ("mse", "cross_entropy", "bce_with_logits")
        ]
        traces = [forward(problem) for problem in problems]
        right = [backward_with(p, t, {}) for p, t in zip(problems, traces, strict=True)]
        for mistake in CATALOGUE.values():
            shows = (
                _shows(problem, trace, truth, mistake, place)
                for problem, trace, truth in zip(problems, traces, right, strict=True)
                for place in places(problem, mistake, trace)
            )
            tried = next(shows, None)  # None: there is no place for it here
            injected += tried is not None
            if tried is False and not any(shows):
                unseen.append(mistake.name)
        columns: dict[str, Value] = {"injected": injected, "unseen": len(unseen)}
        columns["which"] = ", ".join(unseen[:6]) + (", …" if len(unseen) > 6 else "")
        yield TrialRow(section="hiding places", row=name, columns=columns)


def _shows(
    problem: Problem,
    trace: Trace,
    right: Mapping[str, FloatArray],
    mistake: Mistake,
    place: FaultSite,
) -> bool:
    with np.errstate(all="ignore"):
        wrong = backward_with(problem, trace, {place: mistake})
    unit = 64 * float(np.finfo(problem.dtype).eps)
    return any(difference(wrong[name], right[name]) > unit for name in right)


def limits(hidden: Sequence[TrialRow]) -> Iterator[Limit]:
    """Yield what a run like this cannot see, in words."""
    for row in hidden:
        unseen = int(row.columns["unseen"] or 0)
        if unseen and row.row != "as drawn by default":
            yield Limit(
                title=f"In networks with {row.row}",
                text=f"{unseen} of {row.columns['injected']} known mistakes change nothing there, "
                f"among them {row.columns['which']}. Default draws avoid this structure; a run "
                "restricted to it cannot see them.",
            )
    yield Limit(
        title="Below rounding",
        text="An error smaller than the rounding of its own operation is not seen: about 1e-15 "
        "(float64) or 5e-7 (float32) of a number, and more where a sum cancels.",
    )
    yield Limit(
        title="On kinks",
        text="Any slope between the one-sided ones is admissible: a wrong choice at a kink that "
        "lies between them is called a CONVENTION.",
    )
    yield Limit(
        title="Where digits are lost by convention",
        text="A slope of the size of rounding, such as a saturated sigmoid's, may lose all digits "
        "when it is computed from the rounded output. A factor of 2 or a wrong sign there is "
        "called PRECISION; in other problems the mistake is seen.",
    )
    yield Limit(
        title="In graphs beyond dense chains",
        text="Every step is judged, but not the final gradients as a whole, and the shape of a "
        "value is taken from the hand-written forward. Losses, training and the fast step are "
        "those of dense chains.",
    )
    yield Limit(
        title="Beyond the range",
        text="Where an intermediate number leaves the range of its type, or the truth is not a "
        "number (log 0), every answer after it is accepted, also a finite one.",
    )


def passed(records: Sequence[Record]) -> bool:
    """Say whether every mutant was killed or is equivalent, and there was no false alarm."""
    rows = [record for record in records if isinstance(record, TrialRow)]
    killed = all(
        r.columns["killed"] == r.columns["injected"] for r in rows if r.section == "mutants"
    )
    return killed and not any(
        r.columns["false alarms"] for r in rows if r.section == "false alarms"
    )


def text(records: Sequence[Record]) -> str:
    """Return the trials as tables."""
    lines: list[str] = []
    sections: dict[str, list[TrialRow]] = defaultdict(list)
    for record in records:
        if isinstance(record, TrialRow):
            sections[record.section].append(record)
    for section, rows in sections.items():
        lines += ["", section[0].upper() + section[1:]]
        for row in rows:
            shown = (f"{name} {_cell(value)}" for name, value in row.columns.items())
            lines.append(f"  {row.row}: {', '.join(shown)}")
    found = [record for record in records if isinstance(record, Limit)]
    lines += ["", "What this run cannot detect"] if found else []
    lines += [f"  {limit.title}: {limit.text}" for limit in found]
    return "\n".join(lines).strip()


def _cell(value: Value) -> str:
    return "-" if value is None else f"{value:.0%}" if isinstance(value, float) else str(value)

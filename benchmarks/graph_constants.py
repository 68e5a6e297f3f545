"""Measures what reference/judge.py allows the steps of graphs, on right answers and on wrong ones.

Of right answers: how much of what a definition loses (FORMULA) each number beyond *strict* needs.
Of wrong ones: the share that is caught of errors of 1e-4 (float32) or 1e-10 (float64) of a
gradient's largest entry, injected into one of its entries where that is above its rounding.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from manual_backprop.graph import GraphProblem
from reference.blocks.graph_truth import Truths, certify_rows, rows_of_stack
from reference.blocks.graph_weigh import _key, stack_of
from reference.drawing.graphs import STRUCTURES, first_graph
from reference.judge import DOUBT, FUNCTION, STRICT, judge_all
from reference.oracles import Answer, load
from reference.problems import GRAPHS, DrawnGraph, draw_any
from reference.rounding import RoundingUnit

SHARES = (50.0, 99.0, 100.0)
INJECTED = {"float32": 1e-4, "float64": 1e-10}
ABOVE = 2.0  # times what *strict* allows: below, there is no digit to be wrong in


def main() -> None:
    """Print both, by layer and by regime."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--structures", type=int, default=82)
    arguments.add_argument("--first", type=int, default=0, help="the first structure")
    arguments.add_argument("--each", type=int, default=10, help="problems of a structure")
    arguments.add_argument("--seed", type=int, default=11)
    arguments.add_argument("--sides", nargs="+", default=["manual", "torch"])
    given = arguments.parse_args()
    drawn = [
        draw_any(given.seed, GRAPHS + first_graph(s) + STRUCTURES * k)
        for s in range(given.first, given.first + given.structures)
        for k in range(given.each)
    ]
    problems = [one.problem for one in drawn]
    answers = {name: o.answers(problems) for name, o in load(given.sides).items()}
    for side, own in answers.items():
        print(f"-- {side}: {len(problems)} graphs")
        _print_needed(problems, own)
        judged = judge_all(problems, {side: own}, subject=side)
        print("   judged alone:", _counted(j.verdict for j in judged))
    _print_caught(drawn, answers["manual"], given.seed)


def _counted(names: Iterable[str]) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for name in names:
        found[name] += 1
    return dict(found)


def _print_needed(problems: Sequence[GraphProblem], answers: Sequence[Answer]) -> None:
    """Print how often FORMULA 1 would do, and the most that is needed, by operation."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for k, answer in enumerate(answers):
        if answer.status == "ok":
            groups[_key(problems[k])].append(k)
    needed: defaultdict[str, list[float]] = defaultdict(list)
    entries = 0
    for numbers in groups.values():
        stack = stack_of(problems, [(k, answers[k]) for k in numbers])
        rows = rows_of_stack(stack)
        certify_rows(rows, stack.dtype)
        truths, dtype = Truths(stack, rows), stack.dtype
        strict = truths.tensors(RoundingUnit(dtype, STRICT))
        if not any((t.judged & ~(t.error <= t.allowed)).any() for t in strict):
            entries += sum(t.given.size for t in strict)
            continue
        if any((t.radius > DOUBT * t.allowed).any() for t in strict):
            for r in rows:
                r.evaluate_with_arb(np.flatnonzero(np.isfinite(r.inputs).all(axis=0)), dtype)
        once = replace(STRICT, formula=1.0, function=FUNCTION)
        models = [RoundingUnit(dtype, model) for model in (STRICT, once)]
        made = [truths.tensors(unit, moved=True) for unit in models]
        for one, more in zip(*made, strict=True):
            entries += one.given.size
            with np.errstate(all="ignore"):
                error = np.maximum(one.error, one.error + one.radius - one.hull)
                beyond = one.judged & ~(error <= one.allowed) & np.isfinite(error)
                ratio = (error - one.allowed) / (more.allowed - one.allowed)
            needed[_operation(problems[numbers[0]], one.name)] += ratio[beyond].tolist()
    print(f"   {entries} entries; beyond strict, by operation:")
    for name, ratios in sorted(needed.items()):
        if ratios:
            shares = "  ".join(f"{s}%: {np.percentile(ratios, s):.3g}" for s in SHARES)
            print(f"   {name:24} {len(ratios):6}  FORMULA {shares}")


def _operation(problem: GraphProblem, tensor: str) -> str:
    name = tensor.removeprefix("forward ")
    for step in problem.graph.steps:
        if (step.name == name) if tensor.startswith("forward ") else name in step.inputs.values():
            return step.operation
    return "output"


def _print_caught(drawn: Sequence[DrawnGraph], answers: Sequence[Answer], seed: int) -> None:
    """Print the share of injected errors that is caught."""
    random = np.random.default_rng(seed)
    wrong: list[Answer] = []
    about: list[DrawnGraph] = []
    for one, answer in zip(drawn, answers, strict=True):
        given = {name: answer.gradients[name] for name in one.problem.floats}
        names = [n for n, g in given.items() if np.isfinite(g).all() and g.any()]
        if names:
            name = names[random.integers(len(names))]
            gradient = answer.gradients[name].copy()
            size = np.abs(gradient).max() * INJECTED[gradient.dtype.name]
            entry = int(random.integers(gradient.size))
            if size > ABOVE * _rounding(one.problem, answer, name)[entry]:
                gradient.flat[entry] += size
                wrong.append(replace(answer, gradients={**answer.gradients, name: gradient}))
                about.append(one)
    judged = judge_all([one.problem for one in about], {"manual": wrong})
    titles = [
        {"layer": c.activation, "regime": f"{c.regime} {c.dtype}", "all": ""}
        for c in (one.cell for one in about)
    ]
    for title in ("layer", "regime", "all"):
        found: defaultdict[str, list[tuple[bool, bool]]] = defaultdict(list)
        for of, judgement in zip(titles, judged, strict=True):
            found[of[title]].append((judgement.kind == "DEVIATES", judgement.kind != "AGREE"))
        print(f"-- injected errors, of {len(wrong)}: DEVIATES, not AGREE, by {title}")
        for name, caught in sorted(found.items()):
            wrong_, seen = np.mean(caught, axis=0)
            print(f"   {name:28} {len(caught):5}  {wrong_:7.1%} {seen:7.1%}")


def _rounding(problem: GraphProblem, answer: Answer, name: str) -> np.ndarray:
    """Return what *strict* allows the entries of a gradient: a sum of large terms, a subnormal."""
    stack = stack_of([problem], [(0, answer)])
    rows = rows_of_stack(stack)
    certify_rows(rows, stack.dtype)
    tensors = Truths(stack, rows).tensors(RoundingUnit(stack.dtype, STRICT), moved=True)
    return next(t.allowed[0] + t.hull[0] for t in tensors if t.name == name)


if __name__ == "__main__":
    main()

"""Compares the second order of every operation with every way of PyTorch and JAX, and certified.

    python benchmarks/second_order.py [--problems 1000] [--only tanh conv2d] [--scripts FOLDER]

Each activation, loss and layer of the registry by itself, and each activation f as f(x) · x² with
`multiply`, in both dtypes and every regime, at so many problems. A row says how many were judged
AGREE, CONVENTION (a kink) and PRECISION (digits lost), and where a side deviates or had nothing to
say. The first problem in which a side deviates or loses digits gets its script. Exit 1 where the
hand-written side deviates or anything crashes.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from reference.evidence import gather
from reference.judge import Judgement, judge_all, operation_at
from reference.oracles import SECOND_ORDER, Answer, Oracle, load
from reference.problems import AnyProblem
from reference.repro_second import script_of_second
from reference.trials.second_order import NAMES, POWER, problems_of

BLOCK = 250


def judged(
    name: str, count: int, oracles: Mapping[str, Oracle]
) -> Iterator[tuple[int, AnyProblem, Mapping[str, Answer], Judgement]]:
    """Yield every problem of an operation with its answers and its verdict."""
    problems = list(problems_of(name, count))
    for start in range(0, count, BLOCK):
        some = problems[start : start + BLOCK]
        with np.errstate(all="ignore"):
            answers = {who: oracle.answers(some) for who, oracle in oracles.items()}
        for k, found in enumerate(judge_all(some, answers)):
            yield start + k, some[k], {who: a[k] for who, a in answers.items()}, found


def row(name: str, count: int, oracles: Mapping[str, Oracle], scripts: Path | None) -> bool:
    """Print one operation's row, write its scripts, and say whether something is wrong."""
    kinds: Counter[str] = Counter()
    others: Counter[str] = Counter()
    written: set[str] = set()
    for k, problem, answers, found in judged(name, count, oracles):
        kinds[found.kind] += 1
        for who, answer in answers.items():
            others[f"{who} {answer.status}"] += answer.status != "ok"
        if found.kind in ("DEVIATES", "CRASHED", "VALUE"):
            for who in found.who:
                others[f"{found.kind}({who})"] += 1
        fresh = [w for w in found.who if f"{found.kind}({w})" not in written]
        if found.kind in ("DEVIATES", "PRECISION") and fresh and scripts is not None:
            written |= _write(scripts, f"{name}-{k}", problem, answers, found)
    head = "  ".join(f"{kinds[kind]:5}" for kind in ("AGREE", "CONVENTION", "PRECISION"))
    rest = ", ".join(f"{text} {n}" for text, n in sorted(others.items()) if n)
    print(f"{name:24} {count:5}  {head}  {rest}", flush=True)
    return bool(others["DEVIATES(manual)"] or kinds["CRASHED"] or kinds["VALUE"])


def _write(
    folder: Path, name: str, problem: AnyProblem, answers: Mapping[str, Answer], found: Judgement
) -> set[str]:
    """Write the script of a finding, if it is one operation's; return the verdicts it shows."""
    assert found.leading is not None
    evidence = gather(problem, answers, found)
    script = script_of_second(problem, answers[found.leading.oracle], evidence)  # type: ignore[arg-type]
    if script is None:
        return set()
    folder.mkdir(parents=True, exist_ok=True)
    at = operation_at(problem, found.leading.tensor)
    name = name.replace(POWER, "_times_square")
    (folder / f"{name}-{at}-{found.kind}.py").write_text(script, encoding="utf-8")
    return {f"{found.kind}({who})" for who in found.who}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--only", nargs="+", default=NAMES, choices=NAMES, metavar="NAME")
    parser.add_argument("--scripts", type=Path)
    parser.add_argument("--oracle", nargs="+", default=SECOND_ORDER)
    given = parser.parse_args(arguments)
    oracles = load(given.oracle)
    print(f"{'operation':24} {'n':>5}  AGREE  CONV.  PREC.  others")
    wrong = [row(name, given.problems, oracles, given.scripts) for name in given.only]
    print(f"{sum(wrong)} of {len(wrong)} operations wrong")
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())

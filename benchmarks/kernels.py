"""What the kernels of examples/kernels show: rounding against its bound, and other checkers.

python benchmarks/kernels.py rounding --draws 50     how near right kernels come to the bound
python benchmarks/kernels.py sensitivity             which errors of one entry are seen
python benchmarks/kernels.py compare                 gradcheck, assert_close, check_grads and ours
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jax.test_util import check_grads

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kernelmistakes import KERNELS, MISTAKES

from reference.checks.code import load, spelled, units_of
from reference.checks.kernels import kernel_findings
from reference.checks.kernels._findings import FLOAT64, ROUNDED, Model, ReturnedArray, furthest
from reference.checks.kernels._jax_ways import JaxWays, arrays
from reference.checks.kernels._torch_ways import TorchWays
from reference.checks.kernels._ways import in_dtypes
from reference.checks.kinds import subject_of
from reference.checks.kinds.functions import FunctionSubject


def subject(path: Path) -> FunctionSubject:
    """Return the one kernel of a file, under its shapes."""
    target = load(str(path))
    (unit,) = units_of(target)
    shapes = {name: spelled(text) for name, text in target.names["shapes"].items()}
    found = subject_of(unit, target, 0, shapes)
    assert isinstance(found, FunctionSubject), found
    return found


def kernels(kind: str) -> list[Path]:
    """Return the files of the kernels of a framework."""
    return [p for p in sorted(KERNELS.glob("*.py")) if p.stem.startswith("jax_") == (kind == "jax")]


def asked(path: Path, draws: int, dtype: str) -> Iterator[list[ReturnedArray]]:
    """Yield what comes back on each draw, beside what it should be."""
    ways = TorchWays(subject(path), 0)
    index = 0
    for _ in range(draws):
        one = ways.steady(index)
        index = one.problem.index + 1
        weights = in_dtypes(one.cotangents, dtype)
        answer = ways.kernel.ask(one.problem.in_dtype(dtype), weights, dtype)
        yield ways.named(answer, one.truth(Model(dtype)))


def rounding(draws: int) -> None:
    """Print the furthest entry of each right kernel, as a share of what is allowed."""
    print(f"| kernel | {' | '.join(ROUNDED)} |\n|---|---|---|---|")
    worst = 0.0
    for path in kernels("torch"):
        shares = [
            max(furthest(n, Model(d)).times for named in asked(path, draws, d) for n in named)
            for d in ROUNDED
        ]
        worst = max(worst, *shares)
        print(f"| {path.stem} | {' | '.join(f'{s:.2f}' for s in shares)} |", flush=True)
    print(f"furthest of {draws} draws each: {worst:.2f}")


def sensitivity(draws: int) -> None:
    """Print the share of errors of one entry that are seen, by size and dtype."""
    rng = np.random.default_rng(0)
    for dtype, size in (("float32", 2.0**-16), ("bfloat16", 2.0**-3), ("float16", 2.0**-6)):
        seen = total = 0
        for path in kernels("torch"):
            for named in asked(path, draws, dtype):
                for one in (n for n in named if n.name.startswith("d") and n.got is not None):
                    wrong = np.array(one.got)
                    at = np.unravel_index(int(rng.integers(wrong.size)), wrong.shape)
                    wrong[at] += size * np.max(np.abs(one.true))
                    total += 1
                    seen += furthest(one._replace(got=wrong), Model(dtype)).times > 1
        print(f"{dtype}: one entry off by {size:g} of the largest: seen in {seen} of {total}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rounding", "sensitivity", "compare"))
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.what == "rounding":
        rounding(given.draws)
    elif given.what == "sensitivity":
        sensitivity(given.draws)
    else:
        compare()


# -- beside other checkers -----------------------------------------------------------------------


def compare() -> None:
    """Print what each checker says of every right and every wrong kernel, by framework."""
    for kind, verdicts in (("torch", _torch_verdicts), ("jax", _jax_verdicts)):
        right = {p.stem: p.read_text(encoding="utf-8") for p in kernels(kind)}
        wrong = {f"{n:02} {m.name}": m.source() for n, m in enumerate(MISTAKES)
                 if m.kernel in right}  # fmt: skip
        _table(right, wrong, verdicts)


def _table(
    right: dict[str, str], wrong: dict[str, str], verdicts_of: Callable[[Path], dict[str, bool]]
) -> None:
    """Print the verdicts on each kernel, then the counts."""
    counts: dict[str, list[int]] = {}
    for number, (name, text) in enumerate((*right.items(), *wrong.items())):
        with tempfile.TemporaryDirectory() as folder:
            # Python keeps the source of a module's name
            path = Path(folder) / f"kernel_{number}.py"
            path.write_text(text, encoding="utf-8")
            verdicts = verdicts_of(path)
        print(f"| {name} | {' | '.join('right' if v else 'wrong' for v in verdicts.values())} |",
              flush=True)  # fmt: skip
        for checker, says_right in verdicts.items():
            accused, missed = counts.setdefault(checker, [0, 0])
            accused += name in right and not says_right
            missed += name in wrong and says_right
            counts[checker] = [accused, missed]
    of = f"right ones called wrong, of {len(right)} | wrong ones called right, of {len(wrong)}"
    print(f"| checker | {of} |\n|---|---|---|")
    for checker, (accused, missed) in counts.items():
        print(f"| {checker} | {accused} | {missed} |")


def _ours(found: FunctionSubject) -> bool:
    plain = all(found.case(0, i).assessment.all_right for i in range(4))
    return plain and not kernel_findings(found, 0).failing


def _torch_verdicts(path: Path) -> dict[str, bool]:
    """Return what each checker says: True where it calls the kernel right."""
    try:
        found = subject(path)
    except AssertionError:  # its backward raises
        return dict.fromkeys(
            ("gradcheck, float64", *(f"assert_close, {d}" for d in ROUNDED), "check"), False
        )
    verdicts = {"gradcheck, float64": _gradcheck(found)}
    verdicts |= {f"assert_close, {d}": _assert_close(found, d) for d in ROUNDED}
    return verdicts | {"check": _ours(found)}


def _jax_verdicts(path: Path) -> dict[str, bool]:
    """Return the same of a JAX kernel."""
    found = subject(path)
    verdicts = {f"check_grads, {d}": _check_grads(found, d) for d in (FLOAT64, *ROUNDED)}
    return verdicts | {"check": _ours(found)}


def _check_grads(found: FunctionSubject, dtype: str) -> bool:
    """Ask jax.test_util.check_grads with its default tolerances; a custom_vjp has reverse mode."""
    ways = JaxWays(found, 0)
    problem = ways.problem.in_dtype(dtype)
    with ways.kernel.running(dtype):
        leaves, _ = arrays(problem, (), dtype)
        try:
            check_grads(ways.kernel.function(problem, dtype), leaves, order=1, modes=["rev"])
        except Exception:
            return False
    return True


def _gradcheck(found: FunctionSubject) -> bool:
    """Ask torch.autograd.gradcheck with its default tolerances."""
    with found.frame.running(0):
        drawn = found.inputs(0, 0)
        leaves = found.leaves(drawn)
        run = found.function(found.written.custom, drawn)
        given = [torch.tensor(a, requires_grad=True) for a in leaves.values()]
        try:
            return bool(
                torch.autograd.gradcheck(
                    lambda *t: tuple(run(dict(zip(leaves, t, strict=True)))), given
                )
            )
        except Exception:
            return False


def _assert_close(found: FunctionSubject, dtype: str) -> bool:
    """Compare with autograd through the reference in the same dtype, as tests of kernels do.

    The cotangent is random, and the tolerances are those of torch.testing.assert_close.
    """
    ways = TorchWays(found, 0)
    problem = ways.problem.in_dtype(dtype)
    weights = in_dtypes(ways.cotangents, dtype)
    kind = getattr(torch, dtype)
    try:
        with ways.kernel.running(dtype):
            mine = ways.kernel.ask(problem, weights, dtype)
            leaves = ways.kernel.tensors(problem, dtype)
            plain = found.function(
                lambda given: found.written.primal(
                    [g.to(kind) if found.frame.is_float(g) else g for g in given]
                ),
                dict(problem.drawn),
            )(leaves)
            pairs = [
                (o, torch.tensor(w, dtype=o.dtype))
                for o, w in zip(plain, weights, strict=True)
                if w is not None
            ]
            true = torch.autograd.grad(
                [o for o, _ in pairs], list(leaves.values()), [w for _, w in pairs]
            )
            for path, right in zip(leaves, true, strict=True):
                torch.testing.assert_close(torch.tensor(mine.gradients[path]).to(kind), right)
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()

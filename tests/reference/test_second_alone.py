"""Each operation by itself at second order: what is found without a list, and every mutant."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from reference.judge import judge_all
from reference.oracles import load
from reference.problems import DirectedGraph, DirectedProblem
from reference.trials.mutants import Mutant, of_second, result_of_second
from reference.trials.second_order import NAMES, POWER, problems_of

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "second_order.py"


def deviating(name: str, sides: tuple[str, ...], count: int, first: int = 0) -> set[str]:
    """Return the sides that deviate in some problems of an operation."""
    problems = list(problems_of(name, count, first))
    with np.errstate(all="ignore"):
        answers = {who: oracle.answers(problems) for who, oracle in load(sides).items()}
    found = judge_all(problems, answers)
    return {who for one in found if one.kind == "DEVIATES" for who in one.who}


def test_pytorchs_faults_of_layers_are_found_without_a_list() -> None:
    """All layers of the registry are asked; which of them are wrong, the judge says."""
    pytest.importorskip("torch")
    sides = ("manual", "torch_reverse", "torch_forward", "torch_nested")
    found = {(name, who) for name in LAYERS for who in deviating(name, sides, 4)}
    assert not [name for name, who in found if who == "manual"]
    norms = {("layer_norm", "torch_nested"), ("batch_norm", "torch_nested")}
    assert norms | {("weight_norm", "torch_reverse")} <= found
    assert len({name for name, _ in found}) < 10, found


@pytest.mark.slow  # JAX compiles
def test_tanh_times_a_square_is_found_far_out() -> None:
    """Where x² is near the largest number, tanh's cotangent overflows in JAX's slope."""
    pytest.importorskip("jax")
    sides = ("manual", "jax_forward", "jax_reverse")
    assert deviating("tanh" + POWER, sides, 24, first=276) == {"jax_forward", "jax_reverse"}
    assert not deviating("identity" + POWER, sides, 24, first=276)


def test_every_operation_has_problems_in_both_dtypes() -> None:
    assert {*NAMES} == {*ACTIVATIONS, *(n + POWER for n in ACTIVATIONS), *LOSSES, *LAYERS}
    for name in NAMES:
        problems = list(problems_of(name, 8))
        assert {p.dtype.name for p in problems} == {"float32", "float64"}, name
        kind: Any = DirectedProblem if name in LOSSES else DirectedGraph
        assert all(isinstance(p, kind) for p in problems)
    again, later = list(problems_of("gelu", 3, 5)), list(problems_of("gelu", 8))[5:]
    for one, other in zip(again, later, strict=True):
        np.testing.assert_array_equal(one.arrays["x"], other.arrays["x"])


def test_the_benchmark_writes_its_table_and_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    main = runpy.run_path(str(BENCHMARK))["main"]
    arguments = ["--problems", "4", "--scripts", str(tmp_path), "--only", "weight_norm", "relu"]
    assert main([*arguments, "--oracle", "manual", "torch_reverse"]) == 0
    printed = capsys.readouterr().out
    assert "DEVIATES(torch_reverse) 4" in printed and "0 of 2 operations wrong" in printed
    (script,) = tmp_path.iterdir()
    assert "torch._weight_norm" in script.read_text(encoding="utf-8")


# -- mutants -------------------------------------------------------------------------------------


def test_a_share_of_the_mutants_is_killed_or_equivalent(every: int) -> None:
    chosen = list(of_second())[7 :: 120 * every]
    assert len(chosen) > 20 / every
    fates = {mutant.name: result_of_second(mutant) for mutant in chosen}
    survived = {n: why for n, (dead, why) in fates.items() if not dead and "equiv" not in why}
    assert not survived
    assert sum(dead for dead, _ in fates.values()) > 0.8 * len(fates)


def test_a_mutant_of_no_consequence_is_equivalent_and_one_of_a_millionth_is_not() -> None:
    right = ACTIVATIONS["tanh"].second
    for factor, mutant_result in ((1.0, False), (1 + 1e-6, True)):
        mutant = Mutant("activation", "tanh", "", lambda *a, f=factor: right(*a) * f, "second")
        dead, why = result_of_second(mutant)
        assert dead is mutant_result and ("the same bits" in why) is not mutant_result

"""Kernels asked in every way: right ones are right, and each injected mistake shows in its way."""

from pathlib import Path

import pytest
from kernelmistakes import FORMULA, KERNELS, MISTAKES, Injected

from reference import check
from reference.checks.code import load, spelled, units_of
from reference.checks.kernels import Findings, kernel_findings
from reference.checks.kernels._findings import ROUNDED
from reference.checks.kinds import subject_of
from reference.checks.kinds.functions import FunctionSubject

FILES = sorted(KERNELS.glob("*.py"))
JAX = [p for p in FILES if p.stem.startswith("jax_")]
SLOW_FILES = JAX[:-1]  # JAX compiles each way anew
QUICK = [m for m in MISTAKES if not m.kernel.startswith("jax_")][::4]


def found_in(path: Path) -> tuple[bool, Findings]:
    """Return whether the kernel is right when it is asked plainly, and what the ways find."""
    target = load(str(path))
    (unit,) = units_of(target)
    shapes = {name: spelled(text) for name, text in target.names["shapes"].items()}
    subject = subject_of(unit, target, 0, shapes)
    assert isinstance(subject, FunctionSubject), subject
    plain = all(subject.case(0, index).assessment.all_right for index in range(2))
    return plain, kernel_findings(subject, 0)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.broad] * (p in SLOW_FILES)) for p in FILES],
    ids=lambda p: p.stem,
)
def test_a_right_kernel_is_right_in_every_way_and_dtype(path: Path) -> None:
    plain, found = found_in(path)
    assert plain
    assert found.failing == []
    assert found.lossy == []
    assert set(ROUNDED) <= set(found.right)


def test_each_kernel_has_two_mistakes_that_show_in_different_ways() -> None:
    for path in FILES:
        ways = {m.way for m in MISTAKES if m.kernel == path.stem}
        assert len(ways) >= 2, path.stem


def shows(injected: Injected, folder: Path) -> None:
    path = folder / f"{injected.name.replace('-', '_')}.py"  # Python keeps sources by module name
    path.write_text(injected.source(), encoding="utf-8")
    plain, found = found_in(path)
    if injected.way == FORMULA:
        assert not plain
    else:
        assert plain
        assert any(way.startswith(injected.way) for way, _ in found.failing), found


@pytest.mark.parametrize("injected", QUICK, ids=lambda m: m.name)
def test_a_injected_mistake_shows_in_its_way(injected: Injected, tmp_path: Path) -> None:
    shows(injected, tmp_path)


@pytest.mark.broad
@pytest.mark.parametrize("injected", [m for m in MISTAKES if m not in QUICK], ids=lambda m: m.name)
def test_every_injected_mistake_shows_in_its_way(injected: Injected, tmp_path: Path) -> None:
    shows(injected, tmp_path)


LOSSY = """
import torch

shapes = {"x": "64 D", "b": "D"}


def reference(x, b):
    return x + b


class Bias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, b):
        return x + b

    @staticmethod
    def backward(ctx, dy):
        db = torch.zeros_like(dy[0])
        for row in dy:
            db = db + row
        return dy, db
"""


def test_sums_accumulated_in_the_low_dtype_are_shown_and_not_called_wrong(tmp_path: Path) -> None:
    path = tmp_path / "bias.py"
    path.write_text(LOSSY)
    _, found = found_in(path)
    assert found.failing == []
    assert [text.split(":")[0] for text in found.lossy] == ["bfloat16", "float16"]


FORWARD = """
import torch

shapes = {"x": "N D"}


def reference(x):
    return torch.tanh(x)


class Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y * 1.001

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        return dy * (1 - y * y)
"""


def test_a_forward_that_is_not_its_reference_is_found(tmp_path: Path) -> None:
    path = tmp_path / "tanh.py"
    path.write_text(FORWARD)
    plain, found = found_in(path)
    assert plain  # the gradient is that of the reference
    assert [way for way, _ in found.failing if way == "its forward"]


def test_the_verdict_names_the_way_and_how_far_off_it_is(tmp_path: Path) -> None:
    injected = next(m for m in MISTAKES if m.way == "float16")
    path = tmp_path / "kernel.py"
    path.write_text(injected.source())
    result = check(path, problems=2, timeout=300)  # JAX compiles each way anew
    assert result.exit_code == 1
    assert "float16: " in str(result)
    text = " ".join(str(result).split())  # without the ends of lines
    assert "times the error that rounding of each operation allows" in text

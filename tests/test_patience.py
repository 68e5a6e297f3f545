"""No test depends on the clock of a busy machine: what is waited for has all the time it needs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WAITS = ("wait", "result", "join", "communicate", "acquire", "run", "check_call", "check_output")
CLOCKS = ("monotonic", "perf_counter", "time")
TIMES = {"seconds", "elapsed", "took", "gradients"}


def impatient(source: str) -> Iterator[str]:
    """Yield the calls that give up after a number of seconds, and comparisons of a clock with one.

    PATIENCE is the one limit; seconds that a fault is to be found in are given to what finds it.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = [k.value for k in node.keywords if k.arg == "timeout"]
            if node.func.attr in WAITS and node.func.attr != "run":
                given += node.args[:1]
            if node.func.attr in WAITS and any(number(value) for value in given):
                yield ast.unparse(node)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = [side.id for side in sides if isinstance(side, ast.Name)]
            names += [side.attr for side in sides if isinstance(side, ast.Attribute)]
            if any(map(number, sides)) and TIMES & {*names}:
                yield ast.unparse(node)
        if (
            isinstance(node, ast.BinOp)
            and any(number(side) for side in (node.left, node.right))
            and any(calls_a_clock(side) for side in (node.left, node.right))
        ):
            yield ast.unparse(node)


def number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > 0


def calls_a_clock(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCKS
    )


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.name)
def test_every_wait_is_patient(path: Path) -> None:
    assert list(impatient(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "process.wait(10)",
        "future.result(timeout=3)",
        "process.communicate(timeout=60)",
        "subprocess.run(command, timeout=120)",
        "until = time.monotonic() + 10",
        "assert seconds < 10",
        "assert result.seconds < 10",
    ],
)
def test_that_an_impatient_wait_is_found(source: str) -> None:
    assert len(list(impatient(source))) == 1

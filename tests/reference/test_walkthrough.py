"""The explained walk: four columns, written sums, and one structure behind text, page and cell."""

import ast
import html
import re
from dataclasses import replace
from operator import add, mul, sub, truediv

import numpy as np
import pytest

from manual_backprop.articles import ARTICLES, article
from manual_backprop.operation import InvalidInput
from reference.articles.expanded_sums import ExpandedArithmetic, ExpandedNumber, Notes
from reference.articles.plain import plain
from reference.articles.problem_article import article_of
from reference.articles.walkthrough import COLUMNS, Walkthrough, formula_of, walk, walk_article
from reference.problems import draw


@pytest.fixture(scope="module")
def walks() -> dict[str, Walkthrough]:
    return {name: walk(name) for name in (*ARTICLES, "2-3-1:relu:mse", "0:17")}


def test_every_step_has_four_columns_that_agree(walks: dict[str, Walkthrough]) -> None:
    for name, shown in walks.items():
        assert shown.columns == COLUMNS
        for step in shown.steps:
            assert step.formula, f"{name}: {step.name}"
            sides = {who: [float(re.sub(r"[\[\]]| \+/-.*", "", v)) for v in values]
                     for who, values in step.values.items()}  # fmt: skip
            digits = 4 if name == "0:17" else 12  # a float32 problem, badly conditioned
            for who in COLUMNS[:-1]:
                scale = max(map(abs, sides["certified"])) or 1.0
                apart = np.abs(np.subtract(sides[who], sides["certified"])).max()
                assert apart <= scale * 10.0**-digits, f"{name}: {step.name}, {who}"


def test_every_quantity_is_walked_back_to(walks: dict[str, Walkthrough]) -> None:
    for name in ARTICLES:
        one = article(name)
        forward = {s.name for s in walks[name].steps if s.direction == "forward"}
        back = {s.name for s in walks[name].steps if s.direction == "backward"}
        assert forward - {one.system.loss} <= back
        weights = {n for n in one.example() if n.lower().startswith(("w", "b"))} - {"widths"}
        assert weights <= back


def test_sums_are_written_out(walks: dict[str, Walkthrough]) -> None:
    first = walks["002"].steps[0]
    assert first.sums == ("0.5·(−1) + 2·1 = 1.5",)
    assert first.sources == ("w11_1", "x1", "w12_1", "x2")
    back = next(s for s in walks["002"].steps if s.direction == "backward" and s.name == "w11_2")
    assert back.sources == ("∂L/∂z1_2", "a1_1")


OPERATORS = {ast.Add: add, ast.Sub: sub, ast.Mult: mul, ast.Div: truediv}


def evaluated(node: ast.expr) -> float:
    """Work a sum out: numbers, + - * / and signs alone."""
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        return -evaluated(node.operand)
    assert isinstance(node, ast.BinOp)
    return OPERATORS[type(node.op)](evaluated(node.left), evaluated(node.right))


def test_written_sums_are_true(walks: dict[str, Walkthrough]) -> None:
    """What stands left of the sign of equality comes to what stands right of it."""
    checked = 0
    for name in ARTICLES:
        for step in walks[name].steps:
            for text in step.sums:
                left, _, right = text.replace("−", "-").replace("·", "*").rpartition(" = ")
                if not re.fullmatch(r"[-+*/(). 0-9]+", left):
                    continue
                value = evaluated(ast.parse(left, mode="eval").body)
                assert value == pytest.approx(float(right), rel=1e-3, abs=1e-3), text
                checked += 1
    assert checked > 100


def test_text_page_and_cell_hold_the_same(walks: dict[str, Walkthrough]) -> None:
    for shown in walks.values():
        text, page, cell = shown.text(), html.unescape(shown.html()), shown._repr_html_()
        assert html.unescape(cell) in page
        for step in shown.steps:
            for values in step.values.values():
                assert all(value in text and value in page for value in values)
            assert all(s in text and s in page for s in step.sums if "=" in s)
        assert "<math" in page and "<script" not in cell


@pytest.mark.parametrize("target", ["005", "x", "0:x", "2-", "3", "2-3-1:nope", "2-3:tanh:nope"])
def test_bad_targets_are_named(target: str) -> None:
    with pytest.raises(InvalidInput):
        walk(target)


@pytest.mark.parametrize("target", ["2-2-3:tanh:cross_entropy", "2-3-1:softplus:hinge"])
def test_networks_of_every_kind_of_target(target: str) -> None:
    assert len(walk(target).steps) > 8


def test_everything_that_the_loss_reads_is_among_the_inputs(walks: dict[str, Walkthrough]) -> None:
    shown = walks["2-3-1:relu:mse"]
    assert shown.inputs["t"] == "[[1.0], [0.0]]"
    assert all(f"\n  {name} = {value}\n" in shown.text() for name, value in shown.inputs.items())
    (loss,) = (step for step in shown.steps if step.name == "L")
    assert loss.sources == ("a2", "t")
    problem = next(p for p in (draw(0, i).problem for i in range(10**4)) if p.arrays)
    problem = replace(problem, weights=np.arange(1.0, problem.batch + 1).astype(problem.dtype))
    inputs = walk_article(article_of(problem, "with class weights")).inputs
    assert {"x", "t", "weights", *problem.arrays} <= inputs.keys()


def test_a_missing_framework_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "reference.articles.derivatives.Jax.unavailable", lambda self: "jax is not installed"
    )
    shown = walk("002")
    assert shown.columns == ("manual", "torch", "certified")
    assert "jax: skipped, jax is not installed" in shown.text()


def test_written_numbers_keep_their_brackets() -> None:
    a, b = ExpandedNumber(2), ExpandedNumber(-3)
    assert (a * b).text == "2·(−3)"
    assert (a + b).text == "2 − 3"
    assert (a - b).text == "2 + 3"
    assert ((a - b) * a).text == "(2 + 3)·2"
    assert (1 / (a * b)).text == "1/(2·(−3))"
    assert (-(a + b)).text == "−(2 − 3)"
    assert (a - (a - b)).text == "2 − (2 + 3)"
    assert (0 + a).text == "2"
    assert (a / ExpandedNumber(0)).value == np.inf


def test_notes_know_what_was_read() -> None:
    q = Notes({"x": np.array([1.0, 2.0])})
    m = ExpandedArithmetic()
    q.s = m.sum(q.x)
    q.t = q.s * q.s
    assert q.sources == {"s": ("x",), "t": ("s",)}
    assert q.sums == {"s": ["1 + 2 = 3"], "t": ["3·3 = 9"]}


def test_formulas_of_any_layer() -> None:
    general = {"z<l>": "z^{<l>} = W^{<l>} a^{<l-1>} <l+1>", "z3": "own"}
    assert formula_of("z2", general) == "z^{2} = W^{2} a^{1} 3"
    assert formula_of("z3", general) == "own"
    assert formula_of("y", general) == ""


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{\partial J}{\partial b^{[2]}}", "∂J/∂b^[2]"),
        (r"z_1^{(2)} = w_{12}^{(2)}", "z₁⁽²⁾ = w₁₂⁽²⁾"),
        (r"\frac{\hat y - y}{\hat y (1-\hat y)}", "(ŷ - y)/(ŷ (1-ŷ))"),
        (r"a_1^T (y-\hat y)", "a₁ᵀ (y-ŷ)"),
        (r"\mathbb R^{2 \times h}", "R^(2 × h)"),
        (r"\text{a word} \ne \pi", "a word ≠ π"),
        (r"\unknown{x}_{\mathrm{max}}", "unknownx_(max)"),
        (r"x^", "x^"),
        ("{unclosed", "unclosed"),
    ],
)
def test_plain_text(latex: str, text: str) -> None:
    assert plain(latex) == text


def test_the_slope_of_a_squared_error_is_written_out() -> None:
    shown = walk("2-3-1:tanh:mse").text()
    assert "∂L/∂a₂ = 2 (a₂ - t)/N\n    shape 2 × 1, from a2, t" in shown
    assert "2·(−2.087 − 1)/2 = −3.087" in shown
    assert "((−2.087 − 1)² + (3.4434 − 0)²)/2 = 10.693" in shown
    assert "shape scalar" in shown

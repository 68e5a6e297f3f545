"""The derivation book: every formula is checked, and a wrong or unchecked one fails the build."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Operation
from reference.arithmetic.balls import DefinitionArithmetic, exact, precision
from reference.book import command
from reference.book.chapters import build, operations, reads_formulas
from reference.book.checking import Docstring, Unchecked, check
from reference.book.deriving import derive
from reference.book.evaluating import MAX_STEPS, FormulaPoint, Unclear
from reference.book.measuring import kink_rows
from reference.book.parsing import Formula, read
from reference.book.tokens import MAX_CHARACTERS, MAX_DEPTH, NotRead, Vocabulary
from reference.drawing.regimes import kinks
from reports.book import Book, render_book

OPERATIONS = operations()
X = Vocabulary(frozenset({"x", "y", "β"}))


@pytest.fixture(scope="module")
def docstrings() -> dict[str, Docstring]:
    return {
        operation.name: check(operation) for operation in OPERATIONS if reads_formulas(operation)
    }


@pytest.fixture(scope="module")
def book() -> Book:
    """Return the book of every operation, measured for NumPy alone: torch and jax take long."""
    return build(implementations=("manual",))


def with_doc(operation: Operation, doc: str) -> Operation:
    return dataclasses.replace(operation, doc=doc)


# -- what must hold of every operation ----------------------------------------------------------


def test_every_formula_of_every_docstring_holds(docstrings: dict[str, Docstring]) -> None:
    assert set(docstrings) == {*ACTIVATIONS, *LOSSES, "dense"}
    assert [str(fault) for d in docstrings.values() for fault in d.faults] == []


def test_every_statement_was_checked_at_points_and_to_digits(
    docstrings: dict[str, Docstring],
) -> None:
    for name, docstring in docstrings.items():
        statements = [c for c in docstring.formulas if c.kind == "statement"]
        assert len(statements) >= 2, name  # the value and the slope
        for checked in statements:
            assert checked.samples >= 3, (name, checked.formula.text)
            vague = "…" in inspect.cleandoc(_operation(name).doc)
            assert checked.digits >= (2 if vague else 12), (name, checked.formula.text)


def test_every_elementwise_slope_is_derived_from_its_value(
    docstrings: dict[str, Docstring],
) -> None:
    for operation in [*ACTIVATIONS.values(), *LOSSES.values()]:
        steps = derive(operation, docstrings[operation.name])
        assert steps, operation.name
        assert all(step.formula.samples for step in steps)


def test_the_book_has_a_chapter_for_every_operation(book: Book) -> None:
    assert [c.name for c in book.chapters] == [o.name for o in OPERATIONS]
    for chapter in book.chapters:
        assert chapter.accuracy, chapter.name
        assert "def forward" in chapter.code or "def backward" in chapter.code
        assert '"""' not in chapter.code and "#" not in chapter.code  # no unchecked formulas
        assert chapter.kind == "layer" or chapter.plot is not None
        shown = chapter.numbers and chapter.samples and "def definition" in chapter.definition
        assert shown or reads_formulas(_operation(chapter.name)), chapter.name
    page = render_book(book)
    for chapter in book.chapters:
        assert f'id="{chapter.anchor}"' in page
        assert f'href="#{chapter.anchor}"' in page
    assert len(page) < 2_000_000
    assert "://" not in page  # nothing to fetch


def test_the_kinks_of_the_plots_are_those_the_arbiter_finds(book: Book) -> None:
    chapters = {c.name: c for c in book.chapters}
    for operation in ACTIVATIONS.values():
        found = kinks(operation.name, tuple(operation.defaults().items()))
        plot = chapters[operation.name].plot
        assert plot is not None
        assert plot.kinks == found
        assert [row.where for row in kink_rows(operation, ["manual"])] == [
            f"x = {k:.6g}" for k in found
        ]
        assert all(row.inside["manual"] for row in chapters[operation.name].kinks)


def test_the_mistakes_that_are_shown_were_executed(book: Book) -> None:
    rows = [m for c in book.chapters for m in c.mistakes]
    rows += [m for kind in book.general.values() for m in kind]
    assert len(rows) > 100
    assert all(row.code for row in rows)
    changing = [row for row in rows if row.change]
    assert len(changing) > 0.9 * len(rows)


# -- injected mistakes ---------------------------------------------------------------------------


def mutants(docstrings: dict[str, Docstring]) -> Iterator[tuple[Operation, str]]:
    """Yield every operation with one sign or number of one of its formulas changed."""
    for name, docstring in docstrings.items():
        text = inspect.cleandoc(_operation(name).doc)
        for checked in docstring.formulas:
            formula = checked.formula.text
            for old, new in ((" + ", " - "), (" - ", " + "), ("2", "3"), ("²", "³")):
                if checked.kind in ("statement", "definition") and old in formula:
                    wrong = formula.replace(old, new, 1)
                    pattern = r"\s+".join(map(re.escape, formula.split()))
                    doc = re.sub(pattern, lambda _, w=wrong: w, text, count=1)  # type: ignore[misc]
                    yield with_doc(_operation(name), doc), wrong
                    break


def test_a_wrong_formula_in_a_docstring_fails_the_build(docstrings: dict[str, Docstring]) -> None:
    """One sign or number changed in any formula: the fault names the operation and a line."""
    injected = list(mutants(docstrings))
    assert len(injected) > 90
    for operation, wrong in injected[::3]:
        faults = check(operation).faults
        assert faults, (operation.name, wrong)
        assert all(fault.operation == operation.name and fault.line >= 1 for fault in faults)


@pytest.mark.parametrize(
    ("doc", "text"),
    [
        ("y = max(x, 0).   dy/dx = 1 if x > 0, else 1/2.", "line 1: 'dy/dx"),
        ("y = max(x, 0).   dy/dx = 1.", "at x = "),
        (
            "y = max(x, 0).\n\nThe slope is the step function.",
            "no checked formula states its slope",
        ),
        ("The rectifier.   dy/dx = 1 if x > 0, else 0.", "no checked formula states its value"),
        ("y = max(x, 0).\n\ndy/dx = H(x), Heaviside's.", "line 3: cannot read"),
        ("y = max(x, 0).   dy/dx = 1 if x > 0, else 0.\n\nThen ∫y = x²/2.", "line 3"),
        ("y = max(x, 0).   dy/dx = [x > 0] = f'(x).", "cannot read"),
        (
            "y = max(x, 0).   dy/dx = [x > 0].   It is q = 1 - x.",
            "q is defined, and no checked formula uses it",
        ),
        ("y = max(x, 0).   dy/dx = [x > 0] where x = 3, dy/dx = 2.", "is not 2"),
        ("y = max(x, 0).   dy/dx = [x > 0] for x > 1000.", "could not be checked"),
        ("y = x/2 max(x, 0).   dy/dx = [x > 0].", "write the brackets"),
        ("y = q with q = q + 1.   dy/dx = [x > 0].", "defined by itself"),
        ("y = Σ_j max(x, 0).   dy/dx = [x > 0].", "could not be checked"),
        ("y = max(x, 0), 1 < 0.   dy/dx = [x > 0].", "is not <"),
    ],
)
def test_what_is_wrong_or_unchecked_is_named(doc: str, text: str) -> None:
    faults = [str(f) for f in check(with_doc(ACTIVATIONS["relu"], doc)).faults]
    assert any(text in fault for fault in faults), faults
    assert all(fault.startswith("relu, docstring line ") for fault in faults)


@pytest.mark.parametrize("name", ["layer_norm", "max_pool2d"])
def test_a_layer_whose_numbers_are_wrong_is_in_no_book(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LAYERS[name]

    def wrong(*arrays: Any, **options: Any) -> Any:
        found = right.backward(*arrays, **options)
        return {**found, "x": found["x"] * (1 + 1e-4)}

    mistaken = dataclasses.replace(right, backward=wrong)
    monkeypatch.setitem(LAYERS._operations, name, mistaken)
    with pytest.raises(
        Unchecked, match=rf"{name}, docstring line 1: its code, use 0, float64: .* at x\["
    ):
        build([mistaken], implementations=())


def test_a_true_docstring_in_other_words_passes() -> None:
    doc = """y = x [x > 0] and so y = (x + |x|)/2.   dy/dx = (1 + sign(x))/2 for x > 0.

    A plain sentence, an aside (in brackets), a year 2010, `x = 3` as code, e.g. 1/6 of it.
    """
    assert check(with_doc(ACTIVATIONS["relu"], doc)).faults == ()


def test_the_command_refuses_and_says_why(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = with_doc(ACTIVATIONS["tanh"], "y = tanh x.   dy/dx = 1 - y.")
    monkeypatch.setattr("reference.book.chapters.operations", lambda: [wrong])
    printed: list[str] = []
    assert command(tmp_path / "book", printed.append) == 1
    assert "tanh, docstring line 1" in printed[-1]
    assert not (tmp_path / "book" / "book.html").exists()


def test_a_wrong_rule_of_derivation_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from reference.book import rules
    from reports.notation import Call

    monkeypatch.setattr(rules, "_outer", lambda name, u: Call("cosh", (u,)))
    with pytest.raises(Unchecked, match=r"tanh.*derivation"):
        derive(ACTIVATIONS["tanh"], check(ACTIVATIONS["tanh"]))


# -- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 · 3", 7.0),
        ("8/2/2", 2.0),
        ("-x²", -9.0),
        ("(-x)²", 9.0),
        ("2x", 6.0),
        ("e^-0", 1.0),
        ("|x - 5|", 2.0),
        ("√(x + 1)", 2.0),
        ("tanh² 0 + cosh 0", 1.0),
        ("max(x, 4) - min(x, 1)", 3.0),
        ("[x > 2] + [x < 2]", 1.0),
        ("Σ_j x", 12.0),
        ("Σ_{j≠k} x", 9.0),
        ("x^3", 27.0),
        ("4 if x > 5, else 5 if x > 2, else 6", 5.0),
        ("0.5 x", 1.5),
    ],
)
def test_the_notation_means_what_it_says(text: str, value: float) -> None:
    (formula,) = read(text, X)
    assert isinstance(formula, Formula)
    with precision(64):
        sample = FormulaPoint(DefinitionArithmetic(), {"x": exact(3)}, {"j": 4, "k": 4})
        found = sample.evaluate(formula.node, {"k": 0})
    assert float(found) == value


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('true') = 0",
        "y = (" * 500,
        "y = " + "(" * (MAX_DEPTH + 5) + "x" + ")" * (MAX_DEPTH + 5),
        "y = x" + "^x" * 500,
        "y = x" + " + x" * 500,
        "y = x" + " x" * 500,
        "y = " + "x " * (MAX_CHARACTERS // 2 + 1),
        "y = <script>alert(1)</script>",
        "y = x; y = \u202ex",
        "∂∂∂ = ===",
    ],
)
def test_hostile_text_is_refused_quickly(hostile: str) -> None:
    with pytest.raises(NotRead):
        read(hostile, X)


def test_an_evaluation_without_end_is_refused() -> None:
    (deep,) = read("Σ_i Σ_j Σ_k Σ_n x", X)
    assert isinstance(deep, Formula)
    sample = FormulaPoint(DefinitionArithmetic(), {"x": exact(1)}, dict.fromkeys("ijkn", 30))
    with pytest.raises(Unclear, match=str(MAX_STEPS)):
        sample.evaluate(deep.node)


@given(st.text(alphabet="xyβe=+-/^²()|[]{}_Σ√∂, .0123∈<>≠if else", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        pieces = read(text, X.defining(text))
    except NotRead as error:
        assert error.line >= 1
    else:
        assert all(piece != "" for piece in pieces)


def _operation(name: str) -> Operation:
    return next(operation for operation in OPERATIONS if operation.name == name)

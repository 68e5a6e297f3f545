"""The book's page: what was read is what is shown, and no text of a record becomes markup."""

import dataclasses
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.book import (
    Book,
    BookAccuracy,
    Chapter,
    Curve,
    DerivationStep,
    KinkRow,
    MistakeRow,
    Paragraph,
    Plot,
    Set,
    drawing,
    prose,
    render_book,
)
from reports.notation import (
    Bracketed,
    Call,
    Conditional,
    Derivative,
    Indexed,
    Infix,
    Negative,
    Node,
    Piecewise,
    Power,
    Reduction,
    Relation,
    Root,
    SymbolName,
    Transposed,
    WrittenNumber,
    mathml,
)
from reports.records import Convention

EVIL = '"><script>alert(1)</script><b onclick="x">&amp;\u202e\x00`'

leaves: st.SearchStrategy[Node] = st.one_of(
    st.builds(WrittenNumber, st.sampled_from(["1", "0.5", "1.27…"])),
    st.builds(SymbolName, st.text(max_size=4)),
    st.builds(Indexed, st.text(max_size=3), st.tuples(st.sampled_from("ijk"))),
)


def _compound(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    relation = st.builds(lambda a, b: Relation((a, b), ("=",)), inner, inner)
    return st.one_of(
        st.builds(Infix, st.sampled_from(["+", "-", "/", "·", ""]), inner, inner),
        st.builds(Power, inner, inner),
        st.builds(Negative, inner),
        st.builds(Bracketed, st.sampled_from("(|"), inner),
        st.builds(Bracketed, st.just("["), relation),
        st.builds(Root, inner),
        st.builds(Transposed, inner),
        st.builds(lambda f, a, p: Call(f, (a,), p), st.text(max_size=4), inner,
                  st.sampled_from(["", "2"])),
        st.builds(Reduction, st.sampled_from(["Σ", "max"]), st.just("j"),
                  st.sampled_from(["", "k"]), inner),
        st.builds(Derivative, inner, inner, st.sampled_from("d∂")),
        st.builds(lambda a, c, b: Piecewise(((a, c), (b, None))), inner, relation, inner),
        st.builds(lambda r, c: Conditional(r, (c,)), relation, relation),
    )  # fmt: skip


@given(st.recursive(leaves, _compound, max_leaves=12), st.booleans())
def test_any_tree_is_well_formed_mathml(node: Node, display: bool) -> None:
    text = re.sub(r"[^\x20-\uffff]|[\ud800-\udfff\ufffe\uffff]", "", mathml(node, display))
    root = ElementTree.fromstring(text)
    assert root.tag == "math"


def hostile() -> Book:
    formula = Set(
        Relation((SymbolName(EVIL), WrittenNumber(EVIL)), ("=",)), EVIL, "statement", 3, 9
    )
    flat = ((-1.0, 0.0), (1.0, 1.0))
    chapter = Chapter(
        name=EVIL,
        kind="activation",
        signature=EVIL,
        paragraphs=(Paragraph(False, (EVIL, formula)), Paragraph(True, (formula, EVIL))),
        counterparts={EVIL: EVIL},
        parameters={EVIL: EVIL},
        code=EVIL,
        steps=(DerivationStep(EVIL, formula),),
        plot=Plot(EVIL, (Curve(EVIL, (flat,)), Curve("f′", (flat,))), (0.0,), EVIL),
        accuracy=(BookAccuracy(EVIL, EVIL, {EVIL: (float("inf"), EVIL)}, 3),),
        unit=EVIL,
        kinks=(KinkRow(EVIL, EVIL, EVIL, {EVIL: EVIL}, {EVIL: False}),),
        conventions=(
            Convention(operation=EVIL, kind=EVIL, situation=EVIL, input=EVIL, quantity="slope",
                       dtype=EVIL, answers={EVIL: EVIL}, truth=EVIL),
        ),
        mistakes=(MistakeRow(EVIL, EVIL, EVIL, float("nan")), MistakeRow(EVIL, EVIL, EVIL)),
    )  # fmt: skip
    return Book((chapter,), {"activation": (MistakeRow(EVIL, EVIL, EVIL, 0.0),)}, {EVIL: EVIL})


def test_no_text_becomes_markup() -> None:
    page = render_book(hostile())
    assert page.count("<script") == 1  # the page's own
    assert "<b onclick" not in page
    assert "\u202e" not in page and "\x00" not in page


def test_the_page_asks_for_nothing_and_admits_only_its_own_script() -> None:
    page = render_book(dataclasses.replace(hostile(), chapters=()))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert not re.search(r'(src|href)="(?!#|data:,)', page)


def test_code_in_prose_is_code_and_wide_space_stays_wide() -> None:
    assert prose("a `b<c` d") == "a <code>b&lt;c</code> d"
    assert prose("z.   w") == "z.\u2003w"


@pytest.mark.parametrize("values", [(0.0, 0.0), (1e-300, 1e-300), (-1e300, 1e300)])
def test_a_plot_of_any_height_has_finite_coordinates(values: tuple[float, float]) -> None:
    piece = ((-1.0, values[0]), (0.0, values[1]), (1.0, float("inf")))
    drawn: Any = drawing(Plot("x", (Curve("f", (piece,)),), (), ""))
    assert "nan" not in str(drawn) and "inf" not in str(drawn)


def test_a_jump_breaks_the_curve_and_marks_both_ends() -> None:
    step = Curve("f", (((-1.0, 0.0), (0.0, 0.0)), ((0.0, 1.0), (1.0, 1.0))))
    drawn = drawing(Plot("x", (step,), (0.0,), ""))
    assert drawn.paths[0][1].count("M") == 2
    assert len(drawn.dots) == 2

"""The audit of the articles: every verdict, and errors that it must find."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manual_backprop.articles import ARTICLES, Article, Claim, Quantities, System, article, product
from manual_backprop.articles.claim import read
from manual_backprop.operation import InvalidInput
from reference.articles.audit import Auditor, ClaimDecision
from reference.articles.commands import audit, audit_text, load, records_of
from reference.articles.derivatives import Torch
from reference.articles.reorder import Arrangement

# Every claim that is not simply RIGHT. Held here, apart from the code, which holds no verdict.
NOT_RIGHT = {
    "000": {
        "figure": "NOT DECIDABLE(the article gives no figure)",
        "dW.label": "RIGHT UP TO naming of the left side",
        "hidden.label": "RIGHT UP TO naming of the left side",
    },
    "001": {"range.l": "WRONG", "loss.2": "WRONG", "hidden.n": "WRONG"},
    "002": {"w1.2": "RIGHT UP TO naming of the left side"},
    "003": {
        "A2.1": "RIGHT UP TO naming of the left side",
        "A2.7": "WRONG",
        "A2.8": "WRONG",
        "W2.4": "SHAPE",
        "b2.1": "RIGHT UP TO naming of the left side",
        "b2.4": "RIGHT UP TO naming of the left side",
        "b2.6": "RIGHT UP TO missing batch sum",
        "W1.4": "SHAPE",
        "b1.1": "SHAPE",
    },
    "004": {
        "5.sign": "RIGHT UP TO factor −1",
        "5.softmax": "RIGHT UP TO factor 2",
        "6": "WRONG",
        "7.second": "WRONG",
        "7.softmax": "RIGHT UP TO factor 1/2",
        "7.minimised": "RIGHT UP TO factor −1",
        "7.since": "WRONG",
        "10.third": "WRONG",
        "14": "RIGHT UP TO factor −1",
        "15": "RIGHT UP TO factor −1",
        "15.batch": "RIGHT UP TO missing batch sum",
        "16.third": "SHAPE",
        "17.first": "RIGHT UP TO naming of the left side",
        "17.third": "SHAPE",
    },
}
# What a machine found where the article has something else; LaTeX.
FOUND = {
    ("002", "w1.2"): r"\frac{\partial \mathcal L}{\partial z_{1}^{(1)}}",
    ("003", "A2.1"): r"\frac{\partial A^{[2]}}{\partial Z^{[2]}}",
    ("003", "W2.4"): r"(A^{[2]} - Y)\, (A^{[1]})^T",
    ("003", "b1.1"): r"((W^{[2]})^T\, (A^{[2]} - Y)) * g^{[1]\prime}(Z^{[1]})",
    ("003", "b2.4"): r"\frac{\partial J}{\partial Z^{[2]}}",
    ("004", "16.third"): r"-x^T\, ((1-\tanh^2 z_1) * ((y-\hat y)\, W_2^T))",
    ("004", "17.third"): r"-(1-\tanh^2 z_1) * ((y-\hat y)\, W_2^T)",
}


@pytest.fixture(scope="module")
def auditor() -> Auditor:
    return Auditor(problems=5)


@pytest.fixture(scope="module")
def decisions(auditor: Auditor) -> dict[tuple[str, str], ClaimDecision]:
    return {(n, d.claim.name): d for n in ARTICLES for d in auditor.audit(article(n))}


def test_every_verdict(decisions: dict[tuple[str, str], ClaimDecision]) -> None:
    found = {key: d.verdict for key, d in decisions.items()}
    expected = {key: NOT_RIGHT[key[0]].get(key[1], "RIGHT") for key in found}
    assert found == expected
    assert {(n, name) for n, claims in NOT_RIGHT.items() for name in claims} <= set(found)
    assert len(found) >= 160


def test_what_is_wrong_carries_a_checked_correction(
    decisions: dict[tuple[str, str], ClaimDecision],
) -> None:
    for key, decision in decisions.items():
        if decision.kind in ("WRONG", "SHAPE", "RIGHT UP TO"):
            assert decision.checked and decision.correction, key
        if decision.kind == "WRONG":
            assert decision.counterexample, key
    assert {key: decisions[key].correction for key in FOUND} == FOUND


def test_both_frameworks_stand_beside_the_proof(
    decisions: dict[tuple[str, str], ClaimDecision],
) -> None:
    sides = decisions["004", "16.first"].answers
    assert list(sides) == [
        "left side (certified)",
        "left side (torch)",
        "left side (jax)",
        "printed right side",
    ]


def test_the_counterexample_is_small_and_true() -> None:
    q = article("004").system.run(
        {
            "x": np.zeros((1, 2)),
            "W1": np.zeros((2, 3)),
            "b1": np.zeros((1, 3)),
            "W2": np.zeros((3, 2)),
            "b2": np.zeros((1, 2)),
            "y": np.array([[1.0, 0.0]]),
        }
    )
    printed = np.log(q.sigma) * np.log(1 - q.sigma)
    assert printed[0, 0] == pytest.approx(0.480453, rel=1e-5)  # σ'(0) is 1/4
    assert q.sigma[0, 0] * (1 - q.sigma[0, 0]) == 0.25


def claim_of(name: str, claim: str) -> Claim:
    return next(one for one in article(name).claims if one.name == claim)


TYPOS: list[tuple[str, str, Callable[[Any], Any], str]] = [
    ("002", "w2.4", lambda q: (q.yhat - q.y) * q.a2_1, "RIGHT UP TO naming of the left side"),
    ("002", "w2.4", lambda q: (q.y - q.yhat) * q.a1_1, "RIGHT UP TO factor −1"),
    ("002", "z2.3", lambda q: q.yhat * (1 + q.yhat), "WRONG"),
    ("002", "gear.4", lambda q: 2, "WRONG"),
    ("001", "out.6", lambda q: (q[f"a{q.L}"][1] - q.y[1]) * q[f"a{q.L - 1}"][2], "WRONG"),
    ("000", "softmax.unequal", lambda q: 0 * q[f"a{q.l}"], "WRONG"),
    ("000", "dz.result", lambda q: q.y - q[f"a{q.l}"], "RIGHT UP TO factor −1"),
    ("003", "W1.2", lambda q: q.W2.T, "RIGHT UP TO transposition"),
    ("003", "W1.3", lambda q: -q.X.T, "RIGHT UP TO factor −1, transposition"),
    ("004", "11", lambda q: 1 + q.a1 * q.a1, "WRONG"),
    ("004", "3", lambda q: q.a1 @ q.W2, "WRONG"),
    ("004", "7.likelihood", lambda q: q["ŷ"], "NOT DECIDABLE(the article gives no ŷ)"),
]


@pytest.mark.parametrize(("name", "claim", "typo", "verdict"), TYPOS)
def test_a_typo_in_a_right_claim_falls(
    auditor: Auditor, name: str, claim: str, typo: Callable[[Any], Any], verdict: str
) -> None:
    right = claim_of(name, claim)
    assert auditor.decide(article(name), right).verdict == "RIGHT"
    assert auditor.decide(article(name), replace(right, right=typo)).verdict == verdict


@pytest.mark.parametrize("name", ARTICLES)
def test_no_right_equality_survives_a_change_of_one_side(name: str) -> None:
    """The sides of every right claim really depend on what is evaluated."""
    quick = Auditor(problems=2, confirm=(), counterexamples=False)
    for claim in article(name).claims:
        if claim.asserts != "equal" or claim.name in NOT_RIGHT[name]:
            continue
        if isinstance(claim.right(_evaluation(name, claim)), tuple):
            continue
        changed = replace(claim, right=lambda q, c=claim: np.asarray(c.right(q)) * 3 + 1)
        assert quick.decide(article(name), changed).verdict != "RIGHT", claim.name


def _evaluation(name: str, claim: Claim) -> Any:
    system = claim.system or article(name).system
    return Torch().evaluate(system, system.inputs(0, 0))


@pytest.mark.parametrize("name", ARTICLES)
def test_a_mended_claim_is_right(auditor: Auditor, name: str) -> None:
    for claim in article(name).claims:
        if claim.correction or claim.correction_left:
            mended = replace(
                claim,
                right=claim.correction or claim.right,
                left=claim.correction_left or claim.left,
            )
            assert auditor.decide(article(name), mended).verdict == "RIGHT", claim.name


def test_a_correction_that_is_wrong_is_not_shown(auditor: Auditor) -> None:
    wrong = replace(claim_of("004", "6"), correction=lambda q: q.sigma)
    decision = auditor.decide(article("004"), wrong)
    assert (decision.verdict, decision.correction, decision.checked) == ("WRONG", "", False)


def test_a_framework_that_contradicts_the_proof_is_named() -> None:
    class Broken(Torch):
        def evaluate(self, system: System, inputs: Any) -> Any:
            found = super().evaluate(system, inputs)
            jacobian = found._jacobian
            found._jacobian = lambda of, by: jacobian(of, by) * (1 + 1e-6)
            return found

    broken = Auditor(problems=2, confirm=("torch",))
    broken._confirming = [Broken()]
    verdict = broken.decide(article("004"), claim_of("004", "14")).verdict
    assert verdict == "NOT DECIDABLE(torch contradicts the certified value of the left side)"


def _tiny(forward: Callable[[Any, Quantities], None], *claims: Claim) -> Article:
    def draw(d: Any) -> dict[str, Any]:
        return {"x": d.array(3, 2), "w": d.array(2, 4)}

    return Article("tiny", "Tiny", System("tiny", draw, forward, loss="L", samples=0), claims)


def _forward(m: Any, q: Quantities) -> None:
    q.z = q.x @ q.w
    q.L = m.sum(q.z * q.z)


def test_a_reading_that_the_derivative_does_not_have_is_not_decidable(auditor: Auditor) -> None:
    own = _tiny(_forward, Claim("r", "", "", lambda q: q.d("z", "x", "nj,ni->ni"), lambda q: q.x))
    assert "not of the form nj,ni->ni" in auditor.audit(own)[0].verdict


def test_a_product_without_an_order_that_is_right(auditor: Auditor) -> None:
    wrong = product(("x", lambda q: q.x), "@", ("x", lambda q: q.x))
    own = _tiny(_forward, Claim("p", "", "", lambda q: q.d("L", "w"), wrong))
    decision = auditor.audit(own)[0]
    assert (decision.verdict, decision.correction) == ("SHAPE", "")


def test_a_kink_is_not_decided() -> None:
    def forward(m: Any, q: Quantities) -> None:
        q.z = m.relu(q.x)
        q.L = m.sum(q.z)

    system = System("kink", lambda d: {"x": 0 * d.array(2, 2)}, forward, loss="L")
    claim = Claim("k", "", "", lambda q: q.d("L", "x"), lambda q: 0 * q.x)
    decision = Auditor(problems=2).decide(Article("kink", "", system, (claim,)), claim)
    assert decision.verdict == "NOT DECIDABLE(a problem met a kink or left the range)"


@pytest.mark.parametrize(
    ("side", "text"),
    [
        (lambda q: q.d("L", "w", "n->n"), "InvalidInput|does not fit"),
        (lambda q: q.x["x"], "IndexError"),
        (lambda q: q.d("L", "v"), "the article gives no v"),
        (lambda q: q.nothing, "the article gives no nothing"),
    ],
)
def test_code_that_fails_is_said_and_not_raised(
    auditor: Auditor, side: Callable[[Any], Any], text: str
) -> None:
    for left, right in ((side, lambda q: 0), (lambda q: q.d("L", "w"), side)):
        decision = auditor.audit(_tiny(_forward, Claim("c", "", "", left, right)))[0]
        assert decision.kind == "NOT DECIDABLE" and re.search(text, decision.detail)


def test_shapes_that_do_not_broadcast_are_shape(auditor: Auditor) -> None:
    own = _tiny(_forward, Claim("s", "", "", lambda q: q.d("L", "w"), lambda q: q.x @ q.x))
    assert auditor.audit(own)[0].verdict == "SHAPE"


def test_a_constant_names_nothing(auditor: Auditor) -> None:
    own = _tiny(_forward, Claim("c", "", "", lambda q: q.d("L", "z")[0, 0], lambda q: 0))
    assert auditor.audit(own)[0].verdict == "WRONG"


def test_a_product_within_a_product_is_bracketed() -> None:
    parts = [(name, lambda q: None) for name in ("a^T", "(b)", "c", "d^{2}")]
    found = Arrangement(product(parts[0], "@", parts[1], "@", parts[2], "*", parts[3]), None, 0)
    trees = {
        (((0, True), "@", (1, True)), "@", (2, True)): r"a\, (b)^T\, c^T",
        ((0, False), "*", ((2, False), "*", (3, True))): "a^T * (c * (d^{2})^T)",
    }
    for tree, text in trees.items():
        assert replace(found, tree=tree).formula == text


def test_reading_picks_entries() -> None:
    jacobian = np.einsum("ni,jk->njik", np.array([[1.0, 2.0]]), np.eye(3))
    assert np.array_equal(read(jacobian, "nj,ij->ni"), [[1.0, 2.0]])
    with pytest.raises(InvalidInput, match="does not fit"):
        read(jacobian, "n,i->n")
    with pytest.raises(InvalidInput, match="such as"):
        read(jacobian, "nj ij")


def test_records_and_text() -> None:
    found = audit(["002"], problems=5)
    assert {one.article for one in found} == {"002"}
    mistaken = next(one for one in found if one.claim == "w1.2")
    assert mistaken.verdict.startswith("RIGHT UP TO") and mistaken.correction
    text = audit_text(found)
    assert "36 claims: 35 RIGHT, 1 RIGHT UP TO naming" in text and "ŷ" in text


def test_lost_formulas_are_marked() -> None:
    one = article("000")
    assert all(claim.reconstructed for claim in one.claims)
    shown = records_of(one, [ClaimDecision(one.claims[0], "RIGHT")])[0]
    assert "reconstructed" in shown.statement


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected an Article under the name ARTICLE"),
        ("1 / 0", "ZeroDivisionError"),
        (None, "a Python file with claims"),
    ],
)
def test_a_file_that_is_no_article(tmp_path: Any, content: str | None, message: str) -> None:
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        load(str(path))

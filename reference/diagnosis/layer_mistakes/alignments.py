"""Mistakes of the sums over alignments (ctc)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule, WrongArray

_Skips = npt.NDArray[np.bool_]


def _gradient(
    c: LayerLine,
    shares: Callable[[FloatArray, FloatArray, FloatArray], FloatArray] = lambda y, a, b: a * b,
    may_skip: Callable[[np.ndarray], _Skips] = lambda states: states[2:] != states[:-2],
    add: Callable[[FloatArray, FloatArray], FloatArray] = np.add,
) -> FloatArray:
    """Return -δL γ from the probabilities themselves, where one step of it may be another.

    `shares` returns P γ from y, α and β, (T, S) each; `may_skip` of the states from the third on
    whether they are reached from two before; `add` puts the states of a class together.
    """
    dx = np.zeros_like(c["x"])
    for n, (time, u) in enumerate(zip(c["input_lengths"], c["target_lengths"], strict=True)):
        states = np.full(2 * u + 1, c.options["blank"])
        states[1::2] = c["target"][n, :u]
        y = np.exp(c["x"][:time, n, states])
        steps = np.eye(len(states)) + np.eye(len(states), k=-1)
        steps += np.diag(may_skip(states) * 1.0, -2) if u else 0
        alpha, beta = np.zeros_like(y), np.zeros_like(y)
        alpha[0, :2], beta[-1, -2:] = y[0, :2], 1
        for t in range(1, time):
            alpha[t] = steps @ alpha[t - 1] * y[t]
            beta[-1 - t] = (beta[-t] * y[-t]) @ steps
        p = alpha[-1, -2:].sum()
        part = -c.dy[n] * shares(y, alpha, beta) / p if p else 0.0 * y
        for s, state in enumerate(states.tolist()):
            dx[:time, n, state] = add(dx[:time, n, state], part[:, s])
    return dx


def _later(beta: FloatArray) -> FloatArray:
    """Return β of the step after."""
    return np.concatenate([beta[1:], beta[-1:]])


def ctc_x(name: str, wrong: str, sentence: str, make: Callable[[LayerLine], WrongArray]) -> None:
    """Enter a mistake in the cotangent of x, for x whose products of probabilities are in range."""
    rule = LayerRule(("ctc",), ("x",))
    rule(name, wrong, sentence, make, lambda c: bool(np.abs(c["x"]).max() * len(c["x"]) < 600))


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
ctc_x("ctc_skips_left_out", "α_t(s) = y (α_{t−1}(s) + α_{t−1}(s−1))",
    "The blank between two different labels may be left out: α_{t−1}(s−2) is missing.",
    lambda c: _gradient(c, may_skip=lambda states: states[2:] < 0))
ctc_x("ctc_skips_between_equal_labels", "α_{t−1}(s−2) where l'_s = l'_{s−2} too",
    "Two equal labels need a blank between them, else they are one label.",
    lambda c: _gradient(c, may_skip=lambda states: states[2:] != c.options["blank"]))
ctc_x("ctc_skips_over_labels", "α_{t−1}(s−2) for blanks too",
    "A blank is not reached from the blank before: the label between them would be left out.",
    lambda c: _gradient(c, may_skip=lambda states: states[2:] >= 0))
ctc_x("ctc_probability_counted_twice", "γ = α β y/P",
    "If β has y_t in it as α has, their product is to be divided by y_t.",
    lambda c: _gradient(c, lambda y, a, b: a * b * y))
ctc_x("ctc_beta_shifted", "γ_t = α_t β_{t+1}/P",
    "β is taken one step too late.",
    lambda c: _gradient(c, lambda y, a, b: a * _later(b)))
ctc_x("ctc_beta_left_out", "γ_t = α_t/P",
    "α_t is the sum over the ways to a state: the ways from there to the end are left out.",
    lambda c: _gradient(c, lambda y, a, b: a))
ctc_x("ctc_states_of_a_class_overwritten", "δx_c = −δL γ(s) of the last state",
    "A class stands in several states (the blank in every second one): their shares add up.",
    lambda c: _gradient(c, add=lambda before, now: now))
ctc_x("ctc_not_divided_by_p", "δx = −δL α β",
    "The derivative of −log P has 1/P in it.",
    lambda c: c.own * np.exp(-c.y)[:, None])
ctc_x("ctc_by_probabilities", "δx = −δL γ/y",
    "This is the derivative by the probabilities y; that by x = log y has no 1/y.",
    lambda c: c.own / np.exp(c["x"]))
ctc_x("ctc_by_logits", "δx = δL (y − γ)",
    "This is the derivative by the logits of a log-softmax before, not by its values.",
    lambda c: c.own + c.dy[:, None] * np.exp(c["x"]))
ctc_x("ctc_upstream_left_out", "δx = −γ",
    "The cotangent of L is left out: for a mean over the batch it is 1/N.",
    lambda c: c.pulled(dy=np.ones_like(c.dy))["x"])
ctc_x("ctc_padded_steps_counted", "γ of all T steps",
    "The steps after the end of a sample are padding: they have no part in its loss.",
    lambda c: c.pulled(input_lengths=np.full_like(c["input_lengths"], len(c["x"])))["x"])

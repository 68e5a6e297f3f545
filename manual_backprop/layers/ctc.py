"""The loss of a sequence without known positions, by forward and backward sums over alignments."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.activations.rowwise import centred
from manual_backprop.activations.sigmoid import log_add_exp
from manual_backprop.arithmetic import Backend, Function, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.reductions import Logsumexp, shares
from manual_backprop.operation import (
    COMPOSED,
    FloatArray,
    InvalidInput,
    Rows,
    Sample,
    counterpart,
    layer,
)

_FAR = -(2.0**1000)
"""In place of log 0 in the definition, where -∞ would have no slope: below any sum of float32."""


@layer(
    structure="rows",
    takes="nothing",
    torch=counterpart("torch.nn.functional.ctc_loss", reduction="none"),
    jax=COMPOSED,
)
class Ctc:
    """L = -log Σ_π Π_t y_t(π_t), over all alignments π of the labels with the T steps of time.

    x = log y are log-probabilities. An alignment is a class for each step which, without its
    repetitions and then without its blanks, is the target of U labels. Let l' be the target with a
    blank before, between and after its labels: 2U + 1 states s. An alignment is a walk through
    them. It stays, goes on by one state, or by two where this leaves out a blank between two
    different labels (`may_skip`). It starts in one of the first two states and ends in one of the
    last two.

    α_t(s) is the sum over all ways to s at time t, β_t(s) that over all ways from there to the end,
    without y_t itself. With r over the states from which s is reached and q over those that follow
    s,

        α_t(s) = y_t(l'_s) Σ_r α_{t-1}(r),   β_t(s) = Σ_q β_{t+1}(q) y_{t+1}(l'_q)

    Each alignment is in one state at time t, so for each t the probability of the target is
    P = Σ_s α_t(s) β_t(s). x_t(c) = log y_t(c) is in the terms of the states with l'_s = c, as a
    factor e^x; the share of a state in P is γ_t(s) = α_t(s) β_t(s)/P. So from L = -log P

        dx_t(c) = -dL Σ_{s: l'_s = c} γ_t(s)    `(T, N, C)`,   0 after the sample's last step

    The code keeps log α and log β, and computes γ_t as the softmax of their sum over the states. It
    rounds at u |L| of itself where several states have a share, as e^{log α + log β + L} does, but
    the shares of this would not add up to 1, and a single alignment would not get exactly 1.

    If no alignment fits (T is less than U and the number of equal neighbours), L is ∞ and has no
    slope (NaN); with `zero_infinity` both are 0.

    This is the derivative by each x. That of PyTorch is larger by dL e^{x_t(c)}: if x is the
    log-softmax of logits, it is the derivative by these. The backward of the log-softmax returns
    the same for both, because Σ_c dx_t(c) = -dL. Graves, Fernández, Gomez and Schmidhuber, 2006.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        target: IntArray,
        input_lengths: IntArray,
        target_lengths: IntArray,
        *,
        blank: int = 0,
        zero_infinity: bool = False,
    ) -> FloatArray:
        """Return L, shape (N,), of x (T, N, C), labels (N, U) and both lengths (N,)."""
        walks = _walks(x, target, input_lengths, target_lengths, blank)
        log_p = _log_probability(_of_states(x, walks), walks)
        return np.where(zero_infinity & np.isneginf(log_p), x.dtype.type(0), -log_p)

    @staticmethod
    def backward(
        x: FloatArray,
        target: IntArray,
        input_lengths: IntArray,
        target_lengths: IntArray,
        dy: FloatArray,
        *,
        blank: int = 0,
        zero_infinity: bool = False,
    ) -> dict[str, FloatArray]:
        """Return the cotangent of the log-probabilities; dy is that of L."""
        walks = _walks(x, target, input_lengths, target_lengths, blank)
        gamma = _posteriors(_of_states(x, walks), walks, zero_infinity)
        return {"x": _by_class(x, gamma, -dy[:, None], walks)}

    @staticmethod
    def tangent(
        x: FloatArray,
        target: IntArray,
        input_lengths: IntArray,
        target_lengths: IntArray,
        tx: FloatArray,
        *,
        blank: int = 0,
        zero_infinity: bool = False,
    ) -> FloatArray:
        """Return -Σ_t Σ_s γ_t(s) tx_t(l'_s)."""
        walks = _walks(x, target, input_lengths, target_lengths, blank)
        gamma = _posteriors(_of_states(x, walks), walks, zero_infinity)
        ty: FloatArray = -_products(walks, gamma, _of_states(tx, walks)).sum(axis=(0, 2))
        return ty

    @staticmethod
    def second(
        x: FloatArray,
        target: IntArray,
        input_lengths: IntArray,
        target_lengths: IntArray,
        tx: FloatArray,
        dy: FloatArray,
        *,
        blank: int = 0,
        zero_infinity: bool = False,
    ) -> dict[str, FloatArray]:
        """Return the product of x.

        The tangent of the softmax γ_t is γ_t (v - Σ_s γ_t v), where v is the tangent of
        log α_t + log β_t. The tangent of log α_t(s) is tx_t(l'_s) plus the weighted mean of the
        tangents of log α_{t-1} over the states that lead to s; a weight is the state's share of the
        sum. That of log β is similar.
        """
        walks = _walks(x, target, input_lengths, target_lengths, blank)
        of_states, tangents = _of_states(x, walks), _of_states(tx, walks)
        gamma = _posteriors(of_states, walks, zero_infinity)
        before = _tangents_of_sums(of_states, tangents, walks)
        after = _tangents_of_sums(of_states[_REVERSE], tangents[_REVERSE], _back(walks))[_REVERSE]
        tgamma = gamma * centred(gamma, before + tangents + after)
        return {"x": _by_class(x, tgamma, -dy[:, None], walks)}

    @staticmethod
    def definition(
        m: Math[N],
        x: list[list[N]],
        *_: None,
        may_skip: list[N],
        ends: list[list[N]],
        fits: list[N],
        zero_infinity: bool,
        **__: object,
    ) -> list[N]:
        """Return L of one sample by the recursion of log α; x has a number for each state.

        It is valid if L is below 2^1000, which is used for -log 0.
        """
        half, far = m.number("1/2"), m.number(_FAR)
        alpha: list[N | None] = [*x[0][:2], *[None for _ in may_skip[2:]]]
        last = [far, far]
        for t, row in enumerate(x):
            if t:
                ways = [_either(m, a, b) for a, b in zip(alpha, [None, *alpha], strict=False)]
                for s in range(3, min(len(row), 2 * t + 2), 2):
                    before, way = alpha[s - 2], ways[s]
                    assert before is not None  # s is at most one more than what t allows
                    skipping = before if way is None else log_add_exp(m, way, before)
                    ways[s] = m.where(may_skip[s] - half, skipping, far if way is None else way)
                alpha = [None if a is None else x_s + a for x_s, a in zip(row, ways, strict=True)]
            for s, a in enumerate(alpha):
                if a is not None:
                    last[s % 2] = m.where(ends[t][s] - half, a, last[s % 2])
        loss = -log_add_exp(m, *last)
        # If no alignment fits, x/0 leaves the value and the slopes undefined.
        return [m.where(fits[0] - half, loss, m.number(0)) if zero_infinity else loss / fits[0]]

    @staticmethod
    def rows(
        x: FloatArray,
        target: IntArray,
        input_lengths: IntArray,
        target_lengths: IntArray,
        *,
        blank: int,
        zero_infinity: bool,
    ) -> Rows:
        """Return a row for each sample: x of its states, which are skipped to, which may end it.

        `fits` is 1 if any alignment does.
        """
        walks = _walks(x, target, input_lengths, target_lengths, blank)
        own = _of_states(np.arange(x.size).reshape(x.shape), walks).swapaxes(0, 1)
        log_p = _log_probability(np.zeros(own.swapaxes(0, 1).shape), walks)
        numbers = {
            "may_skip": walks.may_skip,
            "ends": (walks.ends == 0).swapaxes(0, 1),
            "fits": np.isfinite(log_p)[:, None],
        }
        return Rows({"x": own}, np.arange(len(own))[:, None], numbers)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 3 samples of 2 to 4 classes and up to 2 labels, and up to 5 steps of time.

        Some are too short for their labels where the loss is then 0, none elsewhere.
        """
        n, classes, labels = 1 + draw.below(3), 2 + draw.below(3), 1 + draw.below(2)
        blank, zero_infinity = draw.below(classes), draw.chance(1, 3)
        target = np.array([[draw.below(classes - 1) for _ in range(labels)] for _ in range(n)])
        lengths = np.array([draw.below(labels + 1) for _ in range(n)])
        repeated = (target[:, 1:] == target[:, :-1]) & (np.arange(1, labels) < lengths[:, None])
        needed = np.maximum(lengths + repeated.sum(axis=1), 1)
        steps = int(needed.max()) + draw.below(3)
        least = np.ones_like(needed) if zero_infinity else needed
        times = np.array([k + draw.below(steps + 1 - k) for k in least.tolist()])
        arrays = {
            "target": target + (target >= blank),
            "input_lengths": times,
            "target_lengths": lengths,
        }
        options = {"blank": blank, "zero_infinity": zero_infinity}
        return Sample({"x": (steps, n, classes)}, arrays, options)

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return numbers so far apart that one alignment has nearly all of the probability."""
        return x * 1024.0

    @staticmethod
    def with_torch(
        f: Function,
        x: Tensor,
        target: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        *,
        blank: int,
        zero_infinity: bool,
        reduction: str,
    ) -> Tensor:
        """Call torch's function."""
        return f(x, target, input_lengths, target_lengths, blank, reduction, zero_infinity)

    @staticmethod
    def composition(
        xp: Backend,
        x: Tensor,
        target: Tensor,
        input_lengths: Tensor,
        target_lengths: Tensor,
        *,
        blank: int,
        zero_infinity: bool,
    ) -> Tensor:
        """Return the same by the framework's log-add-exp."""
        n, labels = target.shape
        blanks = xp.full_like(target, blank)
        states = xp.reshape(xp.stack([blanks, target], axis=-1), (n, 2 * labels))
        states = xp.concat([states, blanks[:, :1]], axis=1)
        s, last_state = xp.arange(2 * labels + 1), 2 * target_lengths[:, None]
        no = xp.full_like(x[0, :, :1], -xp.inf)
        alpha, found = xp.where(s < 2, xp.zeros_like(no), no), no[:, 0]
        skips = xp.concat([states[:, :2] < 0, states[:, 2:] != states[:, :-2]], axis=1)
        for t in range(x.shape[0]):
            if t:
                one = xp.concat([no, alpha[:, :-1]], axis=1)
                two = xp.where(skips, xp.concat([no, no, alpha[:, :-2]], axis=1), no)
                alpha = _log_add_exp(xp, _log_add_exp(xp, alpha, one), two)
            alpha = alpha + xp.take_along_axis(x[t], states, axis=1)
            last = xp.where(s == last_state, alpha, no)
            label = xp.where(s == last_state - 1, alpha, no)
            both = _log_add_exp(xp, xp.max(last, axis=1), xp.max(label, axis=1))
            found = xp.where(input_lengths == t + 1, both, found)
        return xp.where(found == -xp.inf, 0.0 if zero_infinity else xp.inf, -found)


def _log_add_exp(xp: Backend, a: Tensor, b: Tensor) -> Tensor:
    """Return log(e^a + e^b), which is log 0 and has the slopes 0 if both are log 0."""
    neither = xp.maximum(a, b) == -xp.inf
    a, b = (xp.where(neither, 0.0, part) for part in (a, b))
    return xp.where(neither, -xp.inf, xp.logaddexp(a, b))


def _either(m: Math[N], a: N | None, b: N | None) -> N | None:
    """Return log(e^a + e^b) over the arithmetic m; None is log 0."""
    if a is None or b is None:
        return b if a is None else a
    return log_add_exp(m, a, b)


class _Walks(NamedTuple):
    """What the labels and lengths say of the states of each sample, S = 2U + 1 of them."""

    states: IntArray  # (N, S): the class of each state
    may_skip: npt.NDArray[np.bool_]  # (N, S): whether the state before may be left out
    starts: FloatArray  # (T, N, S): 0 where an alignment may start, else -∞
    ends: FloatArray  # (T, N, S): 0 where it may end, else -∞
    seen: npt.NDArray[np.bool_]  # (T, N, 1): whether the time is one of the sample's


def _walks(
    x: FloatArray,
    target: IntArray,
    input_lengths: IntArray,
    target_lengths: IntArray,
    blank: int,
) -> _Walks:
    """Return the states of each sample, in the dtype of x; labels beyond its own are blanks."""
    _expect_labels(x, target, input_lengths, target_lengths, blank)
    n, labels = target.shape
    states = np.full((n, 2 * labels + 1), blank)
    states[:, 1::2] = np.where(np.arange(labels) < target_lengths[:, None], target, blank)
    may_skip = np.zeros(states.shape, bool)
    may_skip[:, 2:] = states[:, 2:] != states[:, :-2]
    time, s = np.arange(len(x))[:, None, None], np.arange(2 * labels + 1)
    last = 2 * target_lengths[:, None]
    at_end = (time == input_lengths[:, None] - 1) & (s <= last) & (s >= last - 1)
    at_start = np.broadcast_to((time == 0) & (s < 2), at_end.shape)
    starts, ends = (np.where(at, 0, -np.inf).astype(x.dtype) for at in (at_start, at_end))
    return _Walks(states, may_skip, starts, ends, time < input_lengths[:, None])


def _of_states(x: np.ndarray, walks: _Walks) -> np.ndarray:
    """Return x_t(l'_s), shape (T, N, S)."""
    states = np.broadcast_to(walks.states, walks.starts.shape)
    return np.take_along_axis(x, states, axis=2)


def _by_class(x: FloatArray, slopes: FloatArray, dy: FloatArray, walks: _Walks) -> FloatArray:
    """Return the sums of dy times the slope over the states of each class, shape (T, N, C)."""
    found = np.zeros_like(x)
    time, sample, _ = np.ogrid[: slopes.shape[0], : slopes.shape[1], :1]
    np.add.at(found, (time, sample, walks.states), _products(walks, slopes, dy))
    return found


def _products(walks: _Walks, slopes: FloatArray, factors: FloatArray) -> FloatArray:
    """Return the products; 0 where the slope is 0 and after the sample's last step, also of ∞."""
    return np.where(walks.seen & (slopes != 0), slopes * factors, slopes.dtype.type(0))


def _sums(x: FloatArray, walks: _Walks) -> FloatArray:
    """Return log Σ over the ways to each state at each time, without its own x: (T, N, S)."""
    sums, reached = np.empty_like(x), np.full_like(x[0], -np.inf)
    for t, start in enumerate(walks.starts):
        ways = _before(reached, start, walks.may_skip)
        sums[t] = Logsumexp.forward(ways, axis=(0,), keepdims=False)
        reached = sums[t] + x[t]
    return sums


def _tangents_of_sums(x: FloatArray, tx: FloatArray, walks: _Walks) -> FloatArray:
    """Return the tangents of the log-sums: the terms' tangents, weighted by their shares."""
    sums, found = _sums(x, walks), np.zeros_like(x)
    for t in range(1, len(x)):
        ways = _before(sums[t - 1] + x[t - 1], walks.starts[t], walks.may_skip)
        of_ways = _before(found[t - 1] + tx[t - 1], np.zeros_like(tx[t]), walks.may_skip, 0.0)
        found[t] = (shares(ways, (0,)) * of_ways).sum(axis=0)
    return found


def _before(
    a: FloatArray, start: FloatArray, may_skip: npt.NDArray[np.bool_], absent: float = -np.inf
) -> FloatArray:
    """Return the start and a at each state, at the state before it, and before that if it may."""
    padded = np.pad(a, ((0, 0), (2, 0)), constant_values=absent)
    skipped = np.where(may_skip, padded[:, :-2], a.dtype.type(absent))
    return np.stack([start, a, padded[:, 1:-1], skipped])


_REVERSE = (slice(None, None, -1), slice(None), slice(None, None, -1))
"""Times and states in reverse order."""


def _back(walks: _Walks) -> _Walks:
    """Return the walks from the ends to the starts, whose α is β in reverse order.

    A state that may be skipped to from two before is one that may be skipped from.
    """
    may_skip = np.roll(walks.may_skip[:, ::-1], 2, axis=1)
    ends, starts = walks.ends[_REVERSE], walks.starts[_REVERSE]
    return walks._replace(starts=ends, ends=starts, may_skip=may_skip)


def _log_probability(x: FloatArray, walks: _Walks) -> FloatArray:
    """Return log P, shape (N,), from x of the states."""
    last = _sums(x, walks) + x + walks.ends
    log_p: FloatArray = Logsumexp.forward(last, axis=(0, 2), keepdims=False)
    return log_p


def _posteriors(x: FloatArray, walks: _Walks, zero_infinity: bool) -> FloatArray:
    """Return γ, the share of each state at each time, shape (T, N, S), from x of the states.

    After the sample's last step it has no meaning: see `_products`.
    """
    joint = _sums(x, walks) + x + _sums(x[_REVERSE], _back(walks))[_REVERSE]
    fits = (joint > -np.inf).any(axis=2, keepdims=True)
    return np.where(fits, shares(joint, (2,)), x.dtype.type(0.0 if zero_infinity else np.nan))


def _expect_labels(
    x: FloatArray,
    target: IntArray,
    input_lengths: IntArray,
    target_lengths: IntArray,
    blank: int,
) -> None:
    """Raise InvalidInput, naming the argument, where a shape, labels or lengths do not fit."""
    if x.ndim != 3 or target.ndim != 2:
        raise InvalidInput(
            f"x, target: shapes {x.shape} and {target.shape}, expected (T, N, C) and (N, U)"
        )
    (steps, samples, classes), labels = x.shape, target.shape[1]
    for name, array, expected in (
        ("target", target, (samples, labels)),
        ("input_lengths", input_lengths, (samples,)),
        ("target_lengths", target_lengths, (samples,)),
    ):
        if array.shape != expected:
            raise InvalidInput(f"{name}: shape {array.shape}, expected {expected}")
    for name, array, low, high in (
        ("blank", np.array(blank), 0, classes - 1),
        ("target", target, 0, classes - 1),
        ("input_lengths", input_lengths, 1, steps),
        ("target_lengths", target_lengths, 0, labels),
    ):
        outside = array[(array < low) | (array > high)]
        if outside.size:
            raise InvalidInput(f"{name}: {outside.flat[0]}, expected {low} to {high}")
    if (target == blank).any():
        raise InvalidInput(f"target: {blank} is the blank, expected other labels")

"""Stand-ins: what people write in NumPy, math and SciPy gives what it gives without them."""

from __future__ import annotations

import textwrap
import types
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.signal
import scipy.special
import scipy.stats
from balltruth import check
from targetsources import ENGINE

from reference.balls import (
    BallArray,
    LeftTheTape,
    Number,
    Session,
    TooManyNodes,
    gradient,
    gradient_balls,
    is_tracked,
    lift,
    numpy_on_balls,
    radii,
    values,
)

X = np.array([[0.5, 1.25, 1.75], [2.5, 0.75, 1.375]])

WAYS = {
    "full": "return np.full((2, 3), x[0, 0]) * np.full_like(x, 2.0)",
    "accumulating": """
        out = np.zeros_like(x)
        for i in range(2):
            for j in range(3):
                out[i, j] += x[i, j] * 2
                out[i, j] += 1
        return out""",
    "array of scalars": "return np.array([x[0, 0], x[1, 1] * 2, 3.0])",
    "nested lists": "return np.array([[v * v for v in row] for row in x])",
    "rows": "return np.asarray([row * 2 for row in x])",
    "scalar types": "return np.float64(x[0, 0]) * np.float32(2.5) + np.float64(x).sum()",
    "astype": "return x.astype(np.float32) * x.astype('float64') * x.astype(float)",
    "masks": "return x * (x > 1).astype(float) * (x > 0).astype(np.float32) * (x > 0.0)",
    "types": """
        assert isinstance(x, np.ndarray) and x.dtype == np.float64 and len(x) == 2
        assert np.issubdtype(x.dtype, np.floating) and isinstance(x[0, 0], (float, np.floating))
        assert isinstance(np.sum(x), np.float64) and np.isscalar(x.sum()) and x.ndim == 2
        return x * np.finfo(x.dtype).eps""",
    "dtypes": """
        out = np.zeros(x.shape, dtype=x.dtype)
        out[:] = x
        return out + np.zeros((2, 3), np.float32) + np.ones_like(x, dtype=float)""",
    "dropout": "return x * (np.random.rand(*x.shape) < 0.5) / 0.5 + np.random.randn(2, 3)",
    "seeded": """
        np.random.seed(1)
        return x * np.random.binomial(1, 0.5, size=x.shape) / 0.5 + rand(2, 3)""",
    "math": """
        return (math.exp(x[0, 0]) + sqrt(x[0, 1]) + math.tanh(x[1, 0]) * math.erf(x[1, 1])
                + math.exp(1.0) + math.log(x[0, 0]) + math.log(x[0, 1], 10) + math.pow(x[0, 0], 2)
                + math.fsum([x[0, 0], 1.0]) + math.atan(x[0, 1]) + math.hypot(x[0, 0], 3.0)
                + math.floor(x[1, 0] + 0.1) * x[0, 0]
                + math.gamma(x[0, 0])
                + math.lgamma(x[0, 1]) + math.isnan(x[0, 0]) + math.erfc(x[0, 0]))""",
    "vectorize": "return lifted(x) * np.vectorize(lambda a, b: a * b)(x, 2.0)",
    "frompyfunc": "return np.frompyfunc(lambda v: v * v, 1, 1)(x).astype(float)",
    "lists": "return np.exp([x[0, 0], x[0, 1]]) + np.mean([x[0, 0], x[1, 1]]) + np.max([x[0, 0]])",
    "tables": "return TABLE['tanh'](x) + TABLE['relu'](x - 1) + with_default(x)",
    "local import": """
        import numpy as mine
        from numpy import zeros as none
        from scipy import special
        out = mine.zeros(x.shape) + none(3)
        out[0] = x[0]
        return out + special.softmax(x, axis=1)""",
    "out=": """
        out = np.empty_like(x)
        np.exp(x, out=out)
        np.multiply(out, 2, out=out)
        np.maximum(out, 1, out=out)
        np.add(x, 1, out)
        return out + np.dot(x, x.T, out=np.empty((2, 2))).sum() + np.sum(x, 0, out=np.zeros(3))""",
    "where=": """
        out = np.divide(x, x - 1.1, out=np.zeros_like(x), where=x > 1.2)
        return out + np.log(x, where=x > 0.6, out=np.ones((2, 3)))""",
    "in place": """
        y = x.copy()
        y -= y.max()
        y *= 2
        y /= 3
        y **= 2
        y[y < 1] = 0.5
        y[0] += 1
        y @= np.ones((3, 3))
        y[:, 1:] -= x[:, :2]
        return y""",
    "add.at": """
        out = np.zeros(4)
        np.add.at(out, [0, 1, 0, 2, 2, 3], x.ravel())
        more = np.zeros((3, 2))
        np.add.at(more, (slice(None), [0, 1]), x.T)
        np.subtract.at(more, (0, 1), x[0, 0])
        return out.sum() * more""",
    "special": """
        return (logsumexp(x, axis=1, keepdims=True) + softmax(x, axis=1) * log_softmax(x, axis=-1)
                + expit(x) + scipy.special.erf(x) * sp.xlogy(x, x) + sp.ndtr(x)
                + logsumexp(x, b=2.0) + sp.expit([x[0, 0]]))""",
    "norm.cdf": """
        return x * norm.cdf(x) + norm.pdf(x, 0.5, 2.0) + norm.logcdf(x[0]) + norm.logpdf(x)""",
    "c_ r_": "return np.c_[x, np.ones(2)] @ np.r_[x[0], 1.0] + np.r_[x[0, :2]]",
    "ranges": """
        return (x[0, 0] * np.linspace(0, 1, 4) + np.arange(4) * x[0, 1] + np.arange(0, 2, 0.5)
                + np.linspace(x[0, 0], x[1, 1], 4))""",
    "eye": "return x @ np.eye(3) + np.identity(3)[:2] + np.tri(2, 3) * x",
    "one hot": """
        wanted = np.zeros((2, 3))
        wanted[np.arange(2), np.array([0, 2])] = 1
        return -np.sum(wanted * np.log(x)) / 2 - (np.eye(3)[[0, 2]] * np.log(x)).sum()""",
    "choices": "return np.array([v if v > 1 else 0.1 * v for v in x.ravel()]).reshape(x.shape)",
    "builtins": """
        return (max(x[0, 0], 0.0) + max(0, x[0, 1]) + min(x[0, 2], 9) + abs(x[1, 0]) + sum(x[1])
                + pow(x[1, 1], 2) + divmod(7, 2)[0] + sum(a * b for a, b in zip(x[0], x[1])))""",
    "questions": """
        if np.isnan(x).any() or np.any(np.isinf(x)) or not np.isfinite(x).all():
            raise ValueError
        assert (x == x).all() and not (x != x).any() and np.any(x > 1) and not np.all(x > 1)
        np.testing.assert_allclose(x, x + 1e-9, rtol=1e-8)
        np.testing.assert_array_equal(x[0], x[0])
        assert np.allclose(np.exp(x) / np.exp(x), 1) and np.array_equal(x, x) and x[0, 0] in x
        return x""",
    "printing": """
        '%s' % x[0, 0], f'{x[0, 0]:.3f}', str(x), repr(x), format(x.sum(), '.2f'), repr(x[0, 0])
        return x""",
    "places": """
        i = np.argmax(x, axis=1)
        return x[range(2), i] * x[0, np.argmax(x[0])] + x[np.unravel_index(x.argmin(), x.shape)]""",
    "strided": """
        shape, strides = (2, 2, 2), x.strides + (x.itemsize,)
        return np.einsum('ijk->ij', as_strided(x, shape=shape, strides=strides))""",
    "new axes": "return x[:, np.newaxis, :] * x[None, :, :]",
    "module arrays": "return x @ MODULE.T + MODULE.sum()",
    "copies": "return copy.deepcopy(x) + copy.copy(x) + copy.deepcopy([x[0, 0]])[0] * np.copy(x)",
    "scalar methods": """
        s = x[0, 0]
        return (s.sum() + s.mean() * s.item() + s.reshape(1)[0] + (s.shape == ()) + s.astype(float)
                + s.max() + s.clip(0, 9) + s.T + s.copy() + s.ndim + s.size)""",
    "plain numbers": "return x * math.sqrt(4) * float(np.zeros(1)[0] + 1) * int(np.ones(2)[1])",
    "indices": """
        n = np.zeros(2)
        n[0] = 1
        index = np.zeros(2, dtype=int)
        index[1] = 2
        return x[0][n.astype(int)] + x[0, index]""",
    "powers": "return np.power(x, 2) + x**2 + x**-1 + x**0.5 + 2**x + x**x + np.float64(2) ** x",
    "leaky": "return np.where(x > 1, x, 0.01 * x) + (x > 1) * x + np.maximum(0.1 * x, x)",
    "iterators": """
        out = np.zeros(x.shape)
        for i in np.ndindex(x.shape):
            out[i] = x[i] ** 2
        for i, v in np.ndenumerate(x):
            out[i] += v
        it = np.nditer(x, flags=['multi_index'])
        while not it.finished:
            out[it.multi_index] += x[it.multi_index] * 3
            it.iternext()
        for i in range(x.size):
            out.flat[i] += x.flat[i]
        return out""",
    "signal": """
        wide = signal.convolve2d(x, x[:1, :2], 'full')
        return (signal.correlate2d(x, x[:, :2], 'valid') @ wide[:, :2] + wide[:, :2]
                + signal.convolve2d(x, x[:, :2], mode='same')[:, :2]
                + signal.correlate2d(x, x[:, :2], 'same')[:, 1:]
                + signal.convolve(x[0], x[1])[0] + signal.correlate(x[0], x[1], 'same')[1])""",
    "update in place": """
        layer = Layer()
        layer.w -= 0.5 * x.T[:, :2]
        return layer.forward(x)""",
    "random class": "return Layer().forward(x)",
    "lists of layers": """
        layers = np.array([x, x[0]], dtype=object)
        return layers[0] * layers[1]""",
    "stacks": "return np.stack([x[0, 0], x[1, 1]]) + np.hstack([x[0, 0], 2.0]) + np.ones(2)",
    "float": """
        cost = float(np.squeeze(x.sum()))
        assert isinstance(cost, float) and isinstance(2.0, float) and not isinstance(2, float)
        assert type(2.0) == float and float("inf") > 1 and float() == 0 and issubclass(float, float)
        out = np.zeros((2, 3), dtype=float) + (x > 1).astype(float) + np.array([1, 2, 3], float)
        return out * cost * float(x[0, 0]) * sum(map(float, x[0])) * x.astype(float)""",
    "formats": """
        "loss %.3f %s" % (x[0, 0], x[0, 1])
        "%5.2f" % x[0, 0], "{:.3f} {}".format(x[0, 0], x), f"{x.sum():8.3e}"
        return x""",
    "plain dot": "return (MODULE.dot(x.T) + MODULE[0].dot(x[1])).mean(axis=0)",
    "piecewise": "return np.piecewise(x, [x < 1, x >= 1], [lambda v: np.exp(v), lambda v: v * v])",
    "result types": "return np.zeros(3, np.result_type(x, float)) + x[0] * (5.6 % x) + 7.1 // x",
    "divisions": "return 1 / x + x / 2 + x // 1 * x + x % 1 + np.reciprocal(x) + x / x.sum()",
    "object arrays": "return np.exp(REAL.asarray(x)) + REAL.tanh(REAL.asarray(x))",
}
HEAD = """
import copy
import math
import scipy
import numpy as np
import scipy.special as sp
from math import sqrt
from numpy.random import rand
from numpy.lib.stride_tricks import as_strided
from scipy import signal
from scipy.special import expit, log_softmax, logsumexp, softmax
from scipy.stats import norm

MODULE = np.arange(6.0).reshape(2, 3)
TABLE = {"tanh": np.tanh, "relu": lambda z: np.maximum(0, z)}

def with_default(x, activation=np.tanh):
    return activation(x)

@np.vectorize
def lifted(v):
    return 0.0 if v < 1.3 else v * v

class Layer:
    def __init__(self):
        self.w = np.random.randn(3, 2) * 0.01
        self.b = np.zeros(2)
        self.count = np.zeros(2, dtype=int)

    def forward(self, x):
        self.b[0] = x[0, 0]
        self.count[1] += 1
        return x @ self.w + self.b + self.count
"""


def load(body: str, head: str = HEAD) -> Any:
    """A module whose function f has that body."""
    module = types.ModuleType("somebody")
    vars(module)["REAL"] = types.SimpleNamespace(asarray=np.asarray, tanh=np.tanh, float=float)
    exec(head + "\ndef f(x):\n" + textwrap.indent(textwrap.dedent(body), "    "), vars(module))
    return module


@pytest.mark.parametrize("name", WAYS)
def test_what_people_write_gives_what_it_gave(name: str) -> None:
    module = load(WAYS[name])
    before = dict(vars(module))

    def f(x: Any) -> Any:
        if isinstance(x, BallArray):
            with numpy_on_balls([module], seed=5):
                return module.f(x)
        np.random.seed(5)  # noqa: NPY002
        return module.f(x.copy())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(f, X)
    assert {k: v for k, v in vars(module).items() if v is not before.get(k)} == {}


def test_the_names_are_restored_after_an_exception() -> None:
    module = load("raise KeyError(np.zeros(2))")
    before = dict(vars(module))
    with pytest.raises(KeyError) as caught, numpy_on_balls([module]):
        assert module.np is not np
        module.f(lift(X))
    assert isinstance(caught.value.args[0], BallArray)
    assert all(vars(module)[name] is value for name, value in before.items())
    import numpy as again

    assert again is np


def test_a_name_the_module_set_itself_is_left() -> None:
    module = load(
        "global mine, sqrt\n    mine = np.zeros(2); sqrt = 3\n    return x".replace("    ", "")
    )
    with numpy_on_balls([module]):
        module.f(lift(X))
    assert module.sqrt == 3


@pytest.mark.parametrize(
    "body",
    [
        "return REAL.float(x[0, 0])",
        "return int(x[0, 0])",
        "return complex(x[0, 0])",
        "return [1, 2, 3][x[0, 0]]",
        "return np.arange(x[0, 0])",
        "MODULE[0] = x[0]",
        "MODULE[0, 0] = x[0, 0]",
        "global MODULE\nMODULE += x",
        "np.exp(x, out=MODULE)",
        "np.add.at(MODULE, 0, x[0])",
        "return REAL.asarray(x).astype(float)",
        "return x.astype(complex)",
        "return x + 1j",
        "return np.fft.fft(x)",
        "return np.interp(x, [0, 1], [0, 1])",
        "return np.unique(x)",
        "return np.spacing(x)",
        "return np.random.normal(x)",
        "return math.frexp(x[0, 0])",
        "return signal.convolve2d(x, x, boundary='wrap')",
        "return np.linalg.svd(x)",
        "import array\nreturn array.array('d', x[0])",
    ],
)
def test_nothing_is_rounded_in_silence(body: str) -> None:
    module = load(body)
    with Session(), numpy_on_balls([module]), pytest.raises(LeftTheTape):
        module.f(lift(X))


def test_constants_may_become_floats() -> None:
    with Session():
        x = lift([-1.0, 2.0])
        chosen = np.maximum(x, 0.5)
        assert float(chosen[0]) == 0.5
        assert int(np.floor(x * 1.2)[1]) == 2
        assert [int(v) for v in (x * 1.6).astype(int)] == [-1, 3]
        with pytest.raises(LeftTheTape):
            float(chosen[1])


# ---- ties ------------------------------------------------------------------------------------


def ties_of(function: Any, *arrays: Any) -> list[tuple[str, bool, bool, bool]]:
    with Session() as session:
        function(*[lift(a) for a in arrays])
    return [(t.operation, t.equal, t.left_tracked, t.right_tracked) for t in session.ties]


def test_ties_are_noted() -> None:
    plain, both = (True, True, False), (True, True, True)
    assert ties_of(lambda x: x > 0, [0.0, 1.0]) == [("greater", *plain)]
    assert ties_of(lambda x: np.maximum(x, 0), [0.0, 1.0]) == [("maximum", *plain)]
    assert ties_of(lambda x: np.abs(x), [0.0, -2.0]) == [("absolute", *plain)]
    assert ties_of(lambda x: x.max(axis=1), [[1.0, 1.0, 0.0], [1.0, 2.0, 1.0]]) == [
        ("maximum", *both)
    ]
    assert ties_of(lambda x: np.clip(x, 0, 6), [6.0, 3.0]) == [("clip", *plain)]
    assert ties_of(np.argmin, [3.0, 3.0]) == [("argmin", *both)]
    assert ties_of(np.sort, [3.0, 1.0, 3.0]) == [("sort", *both)]
    assert ties_of(np.floor, [3.0, 1.5]) == [("floor", *plain)]
    assert ties_of(lambda x: x if x else -x, 0.0) == [("not_equal", *plain)]
    assert ties_of(lambda x, y: x < y, [1.0, 2.0], [1.0, 3.0]) == [("less", *both)]


def test_no_tie_where_there_is_none() -> None:
    assert (
        ties_of(lambda x: (np.maximum(x, 0), x.max(), x == x, x == x.max(), x > 0), [0.5, 1.0])
        == []
    )
    assert ties_of(lambda x: np.exp(x - x.max()), [1.0, 2.0]) == []
    assert ties_of(lambda x: np.isnan(x) | np.isinf(x) | np.isclose(x, 1), [1.0, 0.0]) == []


def test_constants_have_no_ties() -> None:
    """A 0 that a branch chose is no kink of the next one."""
    assert ties_of(lambda x: np.maximum(np.maximum(x, 0), 0) > 0, [-1.0, -2.0]) == []


def test_the_norm_of_zeros_is_a_tie() -> None:
    assert ties_of(np.linalg.norm, [0.0, 0.0]) == [("norm", True, True, False)]


def test_an_undecided_comparison_is_a_tie_that_is_not_equal() -> None:
    assert ties_of(lambda x: (x / 3) * 3 > x, [0.1]) == [("greater", False, True, True)]


def test_ties_met_while_paused_say_so() -> None:
    with Session() as session:
        x = lift([0.0])
        assert not (x > 0)[0]
        with session.paused():
            assert not (x > 0)[0]
    assert [tie.recording for tie in session.ties] == [True, False]


# ---- not finite ------------------------------------------------------------------------------


def test_what_is_not_finite_is_what_numpy_gives() -> None:
    cases = {
        "z/z": lambda z: z / z,
        "1/z": lambda z: 1 / z,
        "log": np.log,
        "-1/z": lambda z: -1 / z,
        "log of less": lambda z: np.log(z - 1),
        "sqrt of less": lambda z: np.sqrt(z - 1),
        "0 inf": lambda z: z * np.inf,
        "0**0": lambda z: z**0 + z**z,
        "0**-1": lambda z: z**-1.0,
        "exp -inf": lambda z: np.exp(np.log(z)),
        "erf inf": lambda z: scipy.special.erf(1 / z) + np.tanh(1 / z),
        "softmax": lambda z: np.exp(z - np.inf),
    }
    for name, function in cases.items():
        with np.errstate(all="ignore"):
            plain = np.asarray(function(np.zeros(2)))
        with Session():
            found = function(lift(np.zeros(2)))
        np.testing.assert_array_equal(values(found), plain, err_msg=name)


def test_far_beyond_doubles() -> None:
    with Session():
        x = lift(800.0)
        (dx,) = gradient([np.log(np.exp(x)) + np.log(np.exp(-2 * x))], [1.0], [x])
        assert values(np.exp(lift([800.0, -800.0]))).tolist() == [np.inf, 0.0]
        assert radii(np.exp(lift([800.0]))) > 0
    assert dx.midpoint == -1 and dx.radius < 1e-50


def test_the_slope_of_sqrt_at_zero_is_not_finite() -> None:
    with Session():
        x = lift(0.0)
        (dx,) = gradient([np.sqrt(x)], [1.0], [x])
    assert not np.isfinite(dx.midpoint) and dx.radius == np.inf


# ---- sessions --------------------------------------------------------------------------------


def test_paused_numbers_have_no_parents_and_all_digits() -> None:
    with Session() as session:
        x = lift([0.1, 0.7])
        y = np.exp(x)
        with session.paused():
            dx = y * lift([3.0, 4.0])
            assert isinstance(dx[0], Number) and not dx[0].depends and y[0].depends
        ((balls, scale),) = gradient_balls([y], [[3.0, 4.0]], [x])
        apart = np.abs(balls - dx)
    assert np.all(values(apart) + radii(apart) < 1e-55)
    np.testing.assert_allclose(scale, values(dx), rtol=1e-14)


def test_a_session_has_a_limit() -> None:
    with Session(max_nodes=10) as session, pytest.raises(TooManyNodes, match="more than 10"):
        np.exp(lift(np.ones(20)))
    assert session.nodes == 11
    with Session():
        np.exp(lift(np.ones(20)))


def test_tracked_values_and_radii() -> None:
    with Session():
        x = lift([1.0, 3.0])
        third = 1 / x
    assert (
        is_tracked(x) and is_tracked([x[0]]) and not is_tracked(np.ones(2)) and not is_tracked(3.0)
    )
    assert values([1.0, x[1]]).tolist() == [1.0, 3.0] and values(2) == 2.0
    assert radii(x).tolist() == [0.0, 0.0] and 0 < radii(third)[1] < 1e-59
    assert lift(2.5).depends and values(lift(2.5)) == 2.5


def test_outputs_that_were_not_recorded_and_leaves_not_reached() -> None:
    with Session():
        x, y = lift([1.0, 2.0]), lift([[1.0]])
        dx, dy = gradient([x * 3, 5.0, np.ones(2)], [[1.0, -1.0], 2.0, [1.0, 1.0]], [x, y])
    assert dx.midpoint.tolist() == [3.0, -3.0] and dx.scale.tolist() == [3.0, 3.0]
    assert dy.midpoint.tolist() == [[0.0]] and dy.radius.tolist() == [[0.0]]


def test_scale_is_the_sum_of_absolute_paths() -> None:
    with Session():
        x = lift(2.0)
        (dx,) = gradient([x * 3 - x * 3 + x * 1e-3], [2.0], [x])
    assert dx.midpoint == 2e-3 and dx.scale == pytest.approx(12.002)


def test_a_micrograd_runs_forward_and_backward() -> None:
    module = load("return x", ENGINE)
    with Session() as session, numpy_on_balls([module]):
        leaves = [lift(v) for v in (2.0, -3.0, 0.75)]
        a, b, c = (module.Value(v) for v in leaves)
        out = (a * b + c * a).tanh() * c + (a + 5).relu() ** 3 + (b * 2).relu() + a**-1
        with session.paused():
            out.backward()
        true = gradient([out.data], [1.0], leaves)
    for node, derivative in zip((a, b, c), true, strict=True):
        assert isinstance(node.grad, Number) and not node.grad.depends
        assert abs(values(node.grad) - derivative.midpoint) <= 1e-15 * abs(derivative.midpoint)
        assert derivative.radius < 1e-50

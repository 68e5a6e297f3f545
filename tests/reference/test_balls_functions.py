"""Every function on balls: NumPy's value, and the gradient of 49-digit difference quotients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flint
import numpy as np
import pytest
import scipy.special
from balltruth import check
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.balls import Number, Session, _array, _products, _reductions, as_balls, lift, values
from reference.balls import _rules as rules

MOST = np.finfo(float).max
Function = Callable[..., Any]


def special(name: str) -> Function:
    return getattr(scipy.special, name)


ANYWHERE = "exp exp2 expm1 square sin cos tan arctan sinh cosh tanh arcsinh negative abs fabs"
POSITIVE = "log log2 log10 log1p sqrt cbrt reciprocal"
INSIDE = "arcsin arccos arctanh"  # (−1, 1)
SPECIAL = "expit log_expit erf erfc ndtr log_ndtr"
OTHERS = ("deg2rad", "rad2deg", "radians", "degrees", "sinc", "negative")

entries = st.floats(0.05, 2.5).map(lambda x: round(x, 6))


@pytest.mark.parametrize("name", [*ANYWHERE.split(), *POSITIVE.split(), *OTHERS])
@settings(max_examples=5, deadline=None)
@given(x=st.lists(entries, min_size=2, max_size=3), sign=st.sampled_from([1, -1]))
def test_a_smooth_function(name: str, x: list[float], sign: int) -> None:
    signed = np.array(x) * (sign if name not in POSITIVE.split() or name == "cbrt" else 1)
    check(getattr(np, name), signed)


@pytest.mark.parametrize("name", INSIDE.split())
@settings(max_examples=5, deadline=None)
@given(x=st.lists(st.floats(-0.95, 0.95), min_size=2, max_size=3))
def test_a_function_of_the_unit_interval(name: str, x: list[float]) -> None:
    check(getattr(np, name), np.array(x) + 1e-3)


@pytest.mark.parametrize("name", SPECIAL.split())
@settings(max_examples=5, deadline=None)
@given(x=st.lists(entries, min_size=2, max_size=3), sign=st.sampled_from([1, -1]))
def test_a_function_of_scipy(name: str, x: list[float], sign: int) -> None:
    check(special(name), sign * np.array(x))


def test_functions_of_narrow_domains() -> None:
    check(np.arccosh, [1.5, 2.25])
    check(special("logit"), [0.2, 0.75])
    check(special("erfinv"), [-0.2, 0.75])
    check(special("gamma"), [0.4, -1.5])
    check(special("gammaln"), [0.4, 3.25])
    check(special("entr"), [0.2, 1.75])


def test_every_smooth_rule_was_tried() -> None:
    tried = {*ANYWHERE.split(), *POSITIVE.split(), *INSIDE.split(), *SPECIAL.split(), *OTHERS}
    assert set(rules.SMOOTH) <= tried | {"arccosh", "logit", "entr", "erfinv", "gamma", "gammaln"}


PAIRS: dict[str, Function] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "float_power": np.float_power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "fmax": np.fmax,
    "fmin": np.fmin,
    "logaddexp": np.logaddexp,
    "logaddexp2": np.logaddexp2,
    "hypot": np.hypot,
    "arctan2": np.arctan2,
    "copysign": lambda x, y: np.copysign(x, y - 1.3),
    "xlogy": special("xlogy"),
    "xlog1py": special("xlog1py"),
    "rel_entr": special("rel_entr"),
    "kl_div": special("kl_div"),
    "huber": lambda x, y: special("huber")(x, y - 1.0),
    "pseudo_huber": lambda x, y: special("pseudo_huber")(x, y - 1.0),
    "heaviside": lambda x, y: x * np.heaviside(y - 1.2, 0.5),
    "remainder": lambda x, y: np.mod(3 * x, y),
    "where": lambda x, y: np.where(x > y, x * y, y * y),
    "outer": np.multiply.outer,
    "np.outer": np.outer,
    "kron": np.kron,
    "**2 **-1 **.5": lambda x, y: x**2 + y**-1 - y**3.0 + x**0.5 + 2**x + x**1.7,
    "//": lambda x, y: x * (7 * x // y) + (5.5 * y) % x,
}


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=6, max_size=6, unique=True))
def test_a_function_of_two(name: str, numerators: list[int]) -> None:
    x, y = np.array(numerators).reshape(2, 3) / 17.0 + 0.00137
    check(PAIRS[name], x, y)


def test_broadcasting_of_two() -> None:
    for name in ("add", "subtract", "multiply", "divide", "power", "maximum", "hypot"):
        check(PAIRS[name], [[0.5], [1.25]], [0.75, 1.5, 3.0])


def sorted_copy(x: Any) -> Any:
    y = x.copy()
    y.sort(axis=0)
    return y * x


def copied(x: Any) -> Any:
    y = x.copy()
    np.copyto(y, x * x, where=x > 1)
    np.put_along_axis(y, np.array([[0], [1], [2]]), 0.5, axis=1)
    return y


REDUCTIONS: dict[str, Function] = {
    "sum": lambda x: np.sum(x),
    "sum0": lambda x: np.sum(x, axis=0),
    "sum1": lambda x: x.sum(axis=1, keepdims=True),
    "sum01": lambda x: x.sum((0, 1)),
    "sum where": lambda x: np.sum(x, axis=1, where=np.array([True, False, True, True])),
    "sum initial": lambda x: np.sum(x, initial=2.5),
    "mean": lambda x: x.mean(-1),
    "var": lambda x: np.var(x, axis=0),
    "var1": lambda x: x.var(axis=1, ddof=1, keepdims=True),
    "std": lambda x: np.std(x, 0),
    "prod": lambda x: x.prod(axis=0),
    "max": lambda x: x.max(1),
    "amax": lambda x: np.amax(x, 0),
    "min": lambda x: np.min(x, axis=(0, 1), keepdims=True),
    "ptp": lambda x: np.ptp(x, axis=0),
    "median": lambda x: np.median(x, axis=1),
    "average": lambda x: np.average(x, axis=1, weights=np.array([1.0, 2.0, 3.0, 0.5])),
    "average w": lambda x: np.average(x, weights=x * x),
    "quantile": lambda x: np.quantile(x, 0.3, axis=0),
    "percentile": lambda x: np.percentile(x, 30, axis=1),
    "cumsum": lambda x: np.cumsum(x, axis=1),
    "cumprod": lambda x: x.cumprod(0),
    "sort": lambda x: np.sort(x, axis=0),
    "argsort": lambda x: np.take_along_axis(x, np.argsort(x, axis=1), axis=1),
    "argmax": lambda x: x[np.arange(3), x.argmax(axis=1)],
    "norm": lambda x: np.linalg.norm(x),
    "norm1": lambda x: np.linalg.norm(x, axis=1, keepdims=True),
    "norm ord": lambda x: np.linalg.norm(x, ord=1, axis=0) + np.linalg.norm(x, 3, 0),
    "norm inf": lambda x: np.linalg.norm(x, np.inf, axis=0),
    "norm matrix": lambda x: np.linalg.norm(x, 1) + np.linalg.norm(x, np.inf),
    "maximum.reduce": lambda x: np.maximum.reduce(x, axis=0),
    "add.reduce": lambda x: np.add.reduce(x),
    "add.accumulate": lambda x: np.add.accumulate(x, axis=1),
    "maximum.accumulate": lambda x: np.maximum.accumulate(x, axis=0),
    "logaddexp.reduce": lambda x: np.logaddexp.reduce(x, axis=1),
    "add.reduceat": lambda x: np.add.reduceat(x, [0, 2], axis=1),
    "trace": lambda x: np.trace(x) + x[:, :3].trace(),
    "diff": lambda x: np.diff(x, axis=1),
    "quantiles": lambda x: np.quantile(x, [0.2, 0.7], axis=0),
    "orders": lambda x: (
        np.sort(x, None) * np.partition(x.ravel(), 3) * x.ravel()[np.argsort(x, None)]
    ),
    "argpartition": lambda x: x[0][np.argpartition(x[0], 2)] * 1.0,
    "sort in place": lambda x: sorted_copy(x),
    "norms": lambda x: np.linalg.norm(x, -np.inf, 1) + np.linalg.norm(x, 0, 1) * x[:, 0],
    "norms of matrices": lambda x: (
        np.linalg.norm(x, "fro")
        + np.linalg.norm(x, axis=(0, 1), keepdims=True)[0, 0]
        + np.linalg.norm(np.stack([x, x * x]), 1, axis=(1, 2), keepdims=True).sum()
    ),
    "nan functions": lambda x: (
        np.nanvar(x, axis=0) + np.nanstd(x) + np.nanmin(x) + np.nanprod(x, 0)
    ),
    "sum of a scalar": lambda x: np.sum(x[0, 0], axis=0) + np.max(x[0, 0], axis=-1, keepdims=True),
    "empty": lambda x: np.sum(x[:0], axis=0) + np.sum(np.prod(x[:, :0], axis=1)) + x[0],
    "initial": lambda x: np.max(x, axis=0, initial=1.5) + np.min(x, initial=0.25, where=x > 1),
    "fmax.reduce": lambda x: np.fmax.reduce(x) + np.hypot.reduce(x) + np.fmin.reduce(x, axis=0),
    "cov two": lambda x: np.cov(x[0], x[1], ddof=0) + np.cov(x.T[:2], rowvar=True),
    "copyto": lambda x: copied(x),
    "ediff1d": lambda x: np.ediff1d(x)[:4] * x[0],
    "searchsorted": lambda x: x[0, np.searchsorted(np.array([0.0, 1.0]), 0.5)] * x[0],
    "clip": lambda x: np.clip(x, 0.5, 1.5),
    "clip method": lambda x: x.clip(0.6, None),
    "round": lambda x: x * np.round(x) + x.round(1) * x + np.floor(x) * x + np.sign(x - 1) * x,
    "nan_to_num": lambda x: np.nan_to_num(x),
    "nansum": lambda x: np.nansum(x, axis=0) + np.nanmax(x, axis=0) + np.nanmean(x, axis=0),
    "select": lambda x: np.select([x < 0.5, x < 1.5], [x * 2, x * x], 1.0),
    "apply_along_axis": lambda x: np.apply_along_axis(lambda r: r * r.sum(), 1, x),
    "apply_along_axis0": lambda x: np.apply_along_axis(lambda r: np.exp(r).mean(), 0, x),
    "cov": lambda x: np.cov(x),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@settings(max_examples=2, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=12, max_size=12, unique=True))
def test_a_reduction(name: str, numerators: list[int]) -> None:
    check(REDUCTIONS[name], np.array(numerators).reshape(3, 4) / 23.0 + 0.00137)


MOVEMENTS: dict[str, Function] = {
    "reshape": lambda x: x.reshape(4, 3) * x.reshape(-1, 3),
    "T": lambda x: x.T @ x,
    "pad": lambda x: np.pad(x, ((1, 0), (0, 2))) * 3.0,
    "pad value": lambda x: np.pad(x, 1, mode="constant", constant_values=0.5),
    "pad edge": lambda x: np.pad(x, 1, mode="edge"),
    "pad reflect": lambda x: np.pad(x, 1, mode="reflect"),
    "concatenate": lambda x: np.concatenate([x, x * x, np.ones((1, 4))], axis=0),
    "stack": lambda x: np.stack([x, 2 * x]),
    "hstack vstack": lambda x: np.hstack([np.vstack((x, x)), np.vstack((x * x, x))]),
    "split": lambda x: np.split(x, 2, axis=1)[1] * np.split(x, [2], axis=1)[0],
    "append insert delete": lambda x: np.delete(np.insert(np.append(x, x), 2, 5.0), 3),
    "c_": lambda x: np.column_stack([x[:, 0], x[:, 1]]),
    "roll flip": lambda x: np.roll(x, 1, axis=1) * np.flip(x, 0) * np.fliplr(x) * np.flipud(x),
    "take": lambda x: np.take(x, [0, 2, 2], axis=0) * x.take([1, 1, 0], axis=0),
    "repeat tile": lambda x: np.repeat(x, 2, axis=0) * np.tile(x, (2, 1)),
    "tril triu": lambda x: np.tril(x) + 2 * np.triu(x, 1),
    "diag": lambda x: np.diag(x[0]) * np.diagflat(x[1]),
    "diagonal": lambda x: np.diagonal(x) * np.diag(x),
    "broadcast": lambda x: np.broadcast_to(x[0], (2, 4)) * 2.0,
    "axes": lambda x: np.moveaxis(np.expand_dims(x, 0), 0, 2).squeeze() + np.swapaxes(x.T, 0, 1),
    "ravel": lambda x: x.ravel() * x.flatten(),
    "mask": lambda x: x[x > 1.0] ** 2 if np.any(x > 1.0) else x[0],
    "fancy": lambda x: x[np.arange(3), [0, 1, 1]] * x[[2, 1, 0], 0],
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)) * 2.0,
    "meshgrid": lambda x: np.multiply(*np.meshgrid(x[0], x[1])),
    "rot90": lambda x: np.rot90(x),
    "atleast": lambda x: np.atleast_3d(x) * 2.0,
    "cross": lambda x: np.cross(x[:, :3], x[:, 1:]),
    "convolve": lambda x: np.convolve(x[0], x[1], "valid") + np.correlate(x[0], x[2]),
    "item": lambda x: x[0, 0].item() * x.item(3) * x[1].tolist()[2] * sum(x[2]),
    "iteration": lambda x: sum(row * row for row in x),
    "polyval": lambda x: np.polyval(x[0], 0.5) + np.vander(x[1], 3)[:, 0],
    "trapezoid": lambda x: np.trapezoid(x, axis=1),
    "ix_": lambda x: x[np.ix_([0, 2], [1, 3])],
    "put_along": lambda x: np.take_along_axis(x, np.array([[1], [0], [3]]), 1),
    "block": lambda x: np.block([[x, x], [x * x, x]]),
}


@pytest.mark.parametrize("name", MOVEMENTS)
@settings(max_examples=2, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=12, max_size=12, unique=True))
def test_a_movement(name: str, numerators: list[int]) -> None:
    check(MOVEMENTS[name], np.array(numerators).reshape(3, 4) / 23.0 + 0.00137)


PRODUCTS: dict[str, tuple[Function, tuple[int, ...], tuple[int, ...]]] = {
    "matrix": (np.matmul, (2, 3), (3, 4)),
    "@": (lambda a, b: a @ b, (2, 3), (3, 2)),
    "vector": (lambda a, b: a @ b, (3,), (3, 2)),
    "matrix vector": (np.dot, (2, 3), (3,)),
    "vectors": (np.dot, (3,), (3,)),
    "stack": (np.matmul, (2, 1, 2, 3), (2, 3, 2)),
    "dot 3d": (np.dot, (2, 2, 3), (3, 2)),
    "method": (lambda a, b: a.dot(b), (2, 3), (3, 2)),
    "inner": (np.inner, (2, 3), (4, 3)),
    "vdot": (np.vdot, (2, 2), (2, 2)),
    "tensordot": (lambda a, b: np.tensordot(a, b, ([1, 2], [0, 1])), (2, 3, 2), (3, 2, 2)),
    "tensordot 1": (lambda a, b: np.tensordot(a, b, axes=1), (2, 3), (3, 2)),
    "einsum": (lambda a, b: np.einsum("ij,jk->ik", a, b), (2, 3), (3, 2)),
    "einsum implicit": (lambda a, b: np.einsum("ij,jk", a, b), (2, 3), (3, 2)),
    "einsum ...": (lambda a, b: np.einsum("...ij,kj->...ki", a, b), (2, 2, 3), (2, 3)),
    "einsum batch": (
        lambda a, b: np.einsum("bij,bjk->bik", a, b, optimize=True),
        (2, 2, 3),
        (2, 3, 2),
    ),
    "einsum lists": (lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [2, 0]), (2, 3), (3, 2)),
    "einsum sum": (lambda a, b: np.einsum("ij,kl->il", a, b), (2, 3), (2, 2)),
    "einsum trace": (lambda a, b: np.einsum("iij,jk->k", a, b), (2, 2, 3), (3, 2)),
    "einsum three": (lambda a, b: np.einsum("ij,jk,kl->il", a, b, a), (2, 3), (3, 2)),
    "einsum one": (lambda a, b: np.einsum("ij->ji", a) @ np.einsum("ij->i", b), (2, 3), (2, 2)),
    "solve": (lambda a, b: np.linalg.solve(a + 3 * np.eye(3), b), (3, 3), (3, 2)),
    "solve vector": (lambda a, b: np.linalg.solve(a + 3 * np.eye(3), b), (3, 3), (3,)),
    "inv": (lambda a, b: np.linalg.inv(a + 3 * np.eye(3)) @ b, (3, 3), (3, 2)),
    "det": (lambda a, b: np.linalg.det(a) * b, (3, 3), (1,)),
    "cholesky": (lambda a, b: np.linalg.cholesky(a @ a.T + np.eye(3)) @ b, (3, 3), (3, 2)),
    "slogdet": (lambda a, b: np.linalg.slogdet(a + 3 * np.eye(3))[1] * b, (3, 3), (2,)),
    "multi_dot": (lambda a, b: np.linalg.multi_dot([a, b, a]), (2, 3), (3, 2)),
    "matrix_power": (lambda a, b: np.linalg.matrix_power(a, 3) @ b, (3, 3), (3, 2)),
    "pinv": (lambda a, b: np.linalg.pinv(a) @ b, (4, 2), (4, 2)),
    "inv of a stack": (lambda a, b: np.linalg.inv(a + np.eye(2)) @ b, (3, 2, 2), (3, 2, 1)),
    "solve a stack": (lambda a, b: np.linalg.solve(a + np.eye(2), b), (3, 2, 2), (3, 2, 1)),
    "det of a stack": (lambda a, b: np.linalg.det(a) * b, (3, 2, 2), (3,)),
    "negative power": (lambda a, b: np.linalg.matrix_power(a, -2) @ b, (2, 2), (2, 1)),
    "pinv of a wide one": (lambda a, b: np.linalg.pinv(a) @ b, (2, 3), (2, 1)),
    "matvec": (lambda a, b: np.matvec(a, b) if hasattr(np, "matvec") else a @ b, (2, 3), (3,)),
    "vecdot": (lambda a, b: np.linalg.vecdot(a, b), (2, 3), (2, 3)),
    "einsum diagonal": (lambda a, b: np.einsum("ii->i", a) * np.einsum("ij,j", a, b), (2, 2), (2,)),
    "einsum broadcast": (lambda a, b: np.einsum("...i,...i->...", a, b), (3, 1, 2), (2, 2)),
    "einsum outer": (lambda a, b: np.einsum("i,j", a, b), (2,), (3,)),
    "scalar dot": (
        lambda a, b: np.dot(a[0], b) + np.inner(a[1], b) + np.tensordot(a, b, 0),
        (2,),
        (3,),
    ),
    "mixed": (lambda a, b: (np.maximum(a, 0.2) * (a > 0.1)) @ np.tril(b), (2, 3), (3, 2)),
    "plain left": (
        lambda a, b: np.array([[1.5, 2.0]]) @ a + np.ones((1, 3)) @ b[:, :3],
        (2, 3),
        (3, 3),
    ),
}


@pytest.mark.parametrize("name", PRODUCTS)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_product(name: str, seed: int) -> None:
    function, of_a, of_b = PRODUCTS[name]
    rng = np.random.default_rng(seed)
    check(function, rng.normal(size=of_a), rng.normal(size=of_b), seed=seed)


@pytest.mark.parametrize(
    ("function", "name", "right"),
    [
        (lambda x: np.fmax(x, np.nan), "fmax", [1.0, 2.0]),
        (lambda x: np.maximum(x, np.nan), "maximum", [np.nan, np.nan]),
        (lambda x: np.nan_to_num(x / 0.0, posinf=3.0), "posinf", [3.0, 3.0]),
        (lambda x: np.nan_to_num(-x / 0.0) + np.nan_to_num(x * np.nan), "neginf", [-MOST, -MOST]),
        (lambda x: np.max(np.append(x, np.nan), keepdims=True), "max", [np.nan]),
        (lambda x: np.sort(np.append(x[::-1], np.nan)), "sort", [1.0, 2.0, np.nan]),
        (lambda x: np.heaviside(x - 1.0, 0.25), "heaviside", [0.25, 1.0]),
        (lambda x: np.floor_divide(x, 0.3), "floor_divide", [3.0, 6.0]),
        (lambda x: np.fix(-x * 1.25) + np.trunc(x * 0.3) + np.ceil(x * 0.3), "fix", [0.0, -1.0]),
        (lambda x: np.logaddexp(np.log(x * 0.0), np.log(x)), "logaddexp", [0.0, np.log(2.0)]),
        (lambda x: scipy.special.xlogy(x * 0.0, 0.0), "xlogy", [0.0, 0.0]),
        (lambda x: scipy.special.rel_entr(0.0, x), "rel_entr", [0.0, 0.0]),
    ],
)
def test_special_values(function: Function, name: str, right: list[float]) -> None:
    with Session():
        found = function(lift([1.0, 2.0]))
    np.testing.assert_allclose(values(found), right, err_msg=name, atol=1e-15)


def test_arrays_of_plain_floats_are_numpys() -> None:
    """A BallArray without a Number, as np.zeros gives, knows all of NumPy."""
    x = as_balls([[1.0, 2.5], [0.5, 3.0]])
    for function in (
        np.spacing, np.linalg.svd, np.linalg.eigvalsh, np.unique, np.fft.fft, np.modf, np.isreal,
        np.linalg.inv, np.var, np.median, np.argsort, np.sort, np.exp, np.linalg.det, np.ptp,
        np.cumsum, np.any, np.argmax, np.linalg.norm, np.logaddexp.reduce, np.std, np.prod,
    ):  # fmt: skip
        plain, found = function(np.array(x.tolist())), function(x)
        pairs = zip(plain, found, strict=True) if isinstance(plain, tuple) else [(plain, found)]
        for a, b in pairs:
            np.testing.assert_allclose(np.asarray(b).astype(a.dtype), a)
    assert x.astype(bool).all() and x.astype(int).tolist() == [[1, 2], [0, 3]]
    assert x.astype(complex).dtype == complex and float(x[0, 1]) == 2.5 and x.item(1) == 2.5
    assert np.array_equal(x, x) and f"{x[:1, :1].sum():.2f} {x}" and "2.5" in str(x[0])


def test_what_does_not_fit_is_said_as_numpy_says_it() -> None:
    x = lift(np.ones((2, 3)))
    for function in (
        lambda: x @ x,
        lambda: np.einsum("ij,jk", x, x),
        lambda: np.einsum("ijk", x),
        lambda: np.einsum("ij", x, x),
        lambda: np.tensordot(x, x, 1),
        lambda: np.matmul(x, 2.0),
        lambda: x + np.ones(2),
        lambda: np.sum(x, axis=2),
        lambda: np.linalg.inv(lift(np.zeros((2, 2)))),
        lambda: x.reshape(5),
    ):
        with pytest.raises((ValueError, np.linalg.LinAlgError)):
            function()


def test_a_wrong_slope_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules.SMOOTH["tanh"]
    wrong = right._replace(slope=lambda x, y: right.slope(x, y) * (1 + flint.arb(10) ** -12))
    monkeypatch.setitem(rules.SMOOTH, "tanh", wrong)
    with pytest.raises(AssertionError):
        check(np.tanh, [0.5, -1.25])


@pytest.mark.parametrize(
    ("where", "name", "function"),
    [
        (Number, "__mul__", lambda x: x * x[0]),
        (rules, "power", lambda x: np.power(x, 3)),
        (_reductions, "combination", lambda x: x.var()),
        (_products, "_entry", lambda x: x @ np.array([[1.0, 2.0], [3.0, 5.0]])),
    ],
)
def test_a_wrong_primitive_is_caught(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, function: Function
) -> None:
    """The first slope of every number made there is off by 1e-12 of itself."""
    right = getattr(where, name)

    def wrong(*args: Any) -> Any:
        made = right(*args)
        if type(made) is Number and made.partials:
            made.partials = (made.partials[0] * (1 + flint.arb(10) ** -12), *made.partials[1:])
        return made

    check(function, [0.5, -1.25])
    monkeypatch.setattr(where, name, wrong)
    if name == "power":
        monkeypatch.setitem(rules.FUNCTIONS, "power", wrong)
    _array._loop.cache_clear()
    with pytest.raises(AssertionError):
        check(function, [0.5, -1.25])
    _array._loop.cache_clear()

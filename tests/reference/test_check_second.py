"""Functions of second order: which names they have, and what they are the derivative of."""

from typing import Any

import numpy as np
import pytest

from reference.checks.code import load, units_of
from reference.checks.code.second import is_a_difference
from reference.checks.code.vocabulary import function_of, names_second_order


@pytest.mark.parametrize(
    "name",
    ["hessian", "rosen_hess", "loss_hvp", "hessp", "hessianVectorProduct", "sigmoid_second",
     "sigmoid_second_derivative", "d2tanh", "ddtanh", "tanhDoublePrime", "tanhPrimePrime"],
)  # fmt: skip
def test_a_name_of_second_order_is_known(name: str) -> None:
    assert names_second_order(name, ("tanh", "sigmoid"))


@pytest.mark.parametrize(
    "name",
    ["second_layer", "double", "tanh_prime", "hessian_diag", "inverse_hessian", "d2relu",
     "numerical_hessian", "hessian_norm", "gauss_newton_hvp", "backward_second_order_check"],
)  # fmt: skip
def test_what_is_no_hessian_is_no_function_of_second_order(name: str) -> None:
    assert not names_second_order(name, ("tanh", "sigmoid"))


def test_a_function_called_double_has_a_backward_of_first_order() -> None:
    assert not names_second_order("double_backward", ("double", "double_backward"))
    assert names_second_order("tanh_second", ("tanh", "tanh_second"))


def test_the_function_that_derivatives_belong_to() -> None:
    names = ("cost", "cost_gradient", "grad_cost", "cost_hessian", "cost_hessian_vector_product")
    assert {function_of(name) for name in names} == {("cost",)}
    assert function_of("dsoftplus") == function_of("d2softplus") == ("softplus",)
    assert function_of("tanh_prime") == function_of("tanh_double_prime") == ("tanh",)
    assert function_of("hessian") == function_of("gradient") == ()


def _units(tmp_path: Any, text: str) -> dict[str, Any]:
    file = tmp_path / "theirs.py"
    file.write_text("import numpy as np\n" + text, encoding="utf-8")
    return {unit.name: unit for unit in units_of(load(str(file)))}


def test_a_hessian_belongs_to_the_gradient_of_its_name_and_arguments(tmp_path: Any) -> None:
    text = """
def f_grad(x, a): return 2 * a * x
def g_grad(x, a): return 3 * a * x
def f_hessian(x, a): return 2 * a * np.eye(len(x))
def f_hvp(x, a, v): return 2 * a * v
def f_hvp_of_x(x, v): return 2 * v
"""
    units = _units(tmp_path, text)
    firsts = {n: [p.name for p in u.partners] for n, u in units.items() if u.second}
    assert firsts == {"f_hessian": ["f_grad"], "f_hvp": ["f_grad"], "f_hvp_of_x": []}


def test_a_hessian_is_asked_for_its_product(tmp_path: Any) -> None:
    text = """
def f_grad(x): return x
def f_hessian(x): return np.arange(4.0).reshape(2, 2)
"""
    product = _units(tmp_path, text)["f_hessian"].backward
    assert product.required[-1] == "v"
    found = product.function(np.ones(2), v=np.array([1.0, 2.0]))
    assert found.tolist() == [2.0, 8.0]
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected \(3, 3\)"):
        product.function(np.ones(3), v=np.ones(3))


def test_a_difference_of_gradients_is_told_from_a_formula(tmp_path: Any) -> None:
    text = """
def f_grad(x): return x
def f_hvp(x, v): return f_grad(x + 1e-5 * v) - f_grad(x)
def g_grad(x): return x
def g_hvp(x, v): return g_grad(v)
"""
    units = _units(tmp_path, text)
    assert is_a_difference(units["f_hvp"].backward, units["f_hvp"].partners)
    assert not is_a_difference(units["g_hvp"].backward, units["g_hvp"].partners)

"""A hand-written NumPy backprop: networks, problems, and the two walks over them.

The names below are imported at their first use, so that a program that needs one of them does not
wait for all operations.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manual_backprop.activations import ACTIVATIONS
    from manual_backprop.fast import CompiledStep, ProductStep, compile_product, compile_step
    from manual_backprop.graph import Graph, GraphProblem, check_graph_problem, values_and_gradients
    from manual_backprop.layers import LAYERS
    from manual_backprop.losses import LOSSES
    from manual_backprop.network import (
        REDUCTIONS,
        Layer,
        Network,
        Problem,
        Trace,
        backward,
        check_problem,
        forward,
    )
    from manual_backprop.operation import InvalidInput
    from manual_backprop.second_order import (
        HessianProduct,
        gradient_norm_gradient,
        hessian_vector_product,
    )

_MODULES = {
    "ACTIVATIONS": "activations",
    "LAYERS": "layers",
    "LOSSES": "losses",
    "REDUCTIONS": "network",
    "Graph": "graph",
    "GraphProblem": "graph",
    "HessianProduct": "second_order",
    "InvalidInput": "operation",
    "Layer": "network",
    "Network": "network",
    "Problem": "network",
    "ProductStep": "fast",
    "CompiledStep": "fast",
    "Trace": "network",
    "backward": "network",
    "check_graph_problem": "graph",
    "check_problem": "network",
    "compile_product": "fast",
    "compile_step": "fast",
    "forward": "network",
    "gradient_norm_gradient": "second_order",
    "values_and_gradients": "graph",
    "hessian_vector_product": "second_order",
}
"""The module of this package that defines each public name."""

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LOSSES",
    "REDUCTIONS",
    "CompiledStep",
    "Graph",
    "GraphProblem",
    "HessianProduct",
    "InvalidInput",
    "Layer",
    "Network",
    "Problem",
    "ProductStep",
    "Trace",
    "backward",
    "check_graph_problem",
    "check_problem",
    "compile_product",
    "compile_step",
    "forward",
    "gradient_norm_gradient",
    "hessian_vector_product",
    "values_and_gradients",
]


def __getattr__(name: str) -> object:
    """Import a public name, or a module of this package, at its first use."""
    if name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    elif name in _MODULES.values():
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

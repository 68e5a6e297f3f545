"""A hand-written NumPy backprop: networks, problems, and the two walks over them."""

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.fast import ProductStep, Step, compile_product, compile_step
from manual_backprop.graph import Graph, GraphProblem, check_graph_problem, gradients
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
from manual_backprop.second_order import (
    HessianProduct,
    gradient_norm_gradient,
    hessian_vector_product,
)
from manual_backprop.spec import InvalidInput

__all__ = [
    "ACTIVATIONS",
    "LAYERS",
    "LOSSES",
    "REDUCTIONS",
    "Graph",
    "GraphProblem",
    "HessianProduct",
    "InvalidInput",
    "Layer",
    "Network",
    "Problem",
    "ProductStep",
    "Step",
    "Trace",
    "backward",
    "check_graph_problem",
    "check_problem",
    "compile_product",
    "compile_step",
    "forward",
    "gradient_norm_gradient",
    "gradients",
    "hessian_vector_product",
]

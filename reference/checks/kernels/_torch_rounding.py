"""What rounding may move in a gradient that torch's autograd computes.

The gradient is traced into its operations, forward and backward. Each operation i is followed by a
small term δ_i, and the results g are differentiated with respect to all of them:

    |change of g_j| ≤ Σ_i |∂g_j/∂δ_i| ρ_i,    ρ_i = half an ulp of the result of operation i,
                                              for a sum of n terms also n u Σ|terms|

This is the first-order error bound (Higham, Accuracy and Stability of Numerical Algorithms, §3).
What cancels on every path, such as the maximum that softmax subtracts, adds nothing to it. All
values are float64, whatever dtype the code asks for.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_map

from reference.checks.kernels._findings import MODELS, Array, Bounds, OperationSize

Tensors = Sequence[torch.Tensor]
Weights = Sequence[torch.Tensor | None]
Primal = Callable[[list[torch.Tensor]], Tensors]
_Key = tuple[str, int]

_SUMS = {
    *("mm", "bmm", "addmm", "baddbmm", "mv", "dot", "addmv", "addbmm", "convolution"),
    *("convolution_backward", "sum", "mean", "cumsum", "index_add", "scatter_add", "index_put"),
    *("embedding_dense_backward", "avg_pool2d", "_unsafe_index_put"),
}
"""Linear in each argument, with coefficients that are not negative."""
_COMPOSITE = (
    *("softmax", "layer_norm", "group_norm", "batch_norm", "logsumexp", "nll_loss", "mse_loss"),
    *("scaled_dot_product", "vector_norm", "gelu", "silu_backward", "mish_backward"),
)
"""What people write out: each of its parts may round. The last two have no second derivative."""
_TABLE: dict[OpOverload, Callable[..., object]] = {
    op: rule
    for op, rule in decomposition_table.items()
    if isinstance(op, OpOverload) and any(name in str(op) for name in _COMPOSITE)
}
_CORRECT = {"add", "sub", "mul", "div", "neg", "sqrt", "reciprocal", "rsub", *_SUMS}
"""Rounded correctly; the rest (exp, tanh, pow) is right to some ulps of what it computes in."""
_ROWS = 64  # rows of a Jacobian that are taken at once


class TorchGraph:
    """A gradient of torch as a list of operations, for inputs of the shapes it was traced with."""

    def __init__(self, primal: Primal, leaves: Tensors, dout: Weights) -> None:
        """Trace a function with its pullback.

        primal: from leaves to outputs, in operations of torch. leaves: tensors, the inputs.
        dout: a tensor for each output, None for one that has no derivative.
        """

        def run(*tensors: torch.Tensor) -> list[torch.Tensor]:
            with torch.enable_grad():
                at = [t.detach().requires_grad_() for t in tensors[: len(leaves)]]
                made = primal([t.clone() for t in at])
                outputs = [o for o, d in zip(made, dout, strict=True) if d is not None]
                given = zip(outputs, tensors[len(at) :], strict=True)
                weights = [d.to(o.dtype) for o, d in given]
                found = torch.autograd.grad(outputs, at, weights, allow_unused=True)
            zeros = [
                torch.zeros_like(t) if g is None else g for t, g in zip(at, found, strict=True)
            ]
            return [*outputs, *zeros]

        self.outputs = sum(d is not None for d in dout)
        with sdpa_kernel(SDPBackend.MATH):
            self.graph = make_fx(run, decomposition_table=_TABLE)(*leaves, *_present(dout))

    def gradients(self, leaves: Tensors, dout: Weights) -> list[torch.Tensor]:
        """Return the gradients as tensors that can be differentiated once more."""
        found: list[torch.Tensor] = _Shifted(self.graph, {}).run(*leaves, *_present(dout))
        return found[self.outputs :]

    def shifted(
        self, shifts: Mapping[_Key, Array], leaves: Tensors, dout: Weights
    ) -> tuple[Array, ...]:
        """Return outputs, then gradients in the order of the leaves, in float64."""
        moved = {key: torch.as_tensor(shift) for key, shift in shifts.items()}
        with torch.no_grad():
            found = _Shifted(self.graph, moved).run(*leaves, *_present(dout))
        return tuple(np.array(t.numpy()) for t in found)

    def sizes(self, leaves: Tensors, dout: Weights) -> dict[_Key, OperationSize]:
        """Return how large the results of all operations that round are."""
        first = _Shifted(self.graph)
        with torch.no_grad():
            first.run(*leaves, *_present(dout))
        return first.sizes

    def bounds(self, sizes: Mapping[_Key, OperationSize], leaves: Tensors, dout: Weights) -> Bounds:
        """Return how far rounding may move each of these, by model."""
        columns = _bounds(self.graph, [*leaves, *_present(dout)], sizes)
        values = self.shifted({}, leaves, dout)
        return {m: tuple(_parts(b, values)) for m, b in zip(MODELS, columns.T, strict=True)}


def _present(dout: Weights) -> list[torch.Tensor]:
    return [d for d in dout if d is not None]


class _Shifted(Interpreter):
    """Runs traced operations in float64, each followed by a shift of its own."""

    def __init__(self, graph: GraphModule, shifts: Mapping[_Key, torch.Tensor] | None = None):
        super().__init__(graph)
        self.shifts = shifts
        self.sizes: dict[_Key, OperationSize] = {}
        """Of what rounds, where none is shifted."""

    def run_node(self, n: Node) -> object:
        """Run one operation."""
        if n.op != "call_function" or not isinstance(n.target, OpOverload):
            return super().run_node(n)
        func = n.target
        args, kwargs = tree_map(_in_float64, self.fetch_args_kwargs_from_env(n))
        mutable = func._schema.is_mutable
        given = [t.detach() for t in tree_flatten((args, kwargs))[0] if _is_float(t)]
        before = [t.clone() for t in given] if mutable else given
        if func.overloadpacket.__name__ == "detach":  # rounding passes what autograd does not
            return args[0]
        made = func(*args, **kwargs)
        if func.is_view or not before or func.overloadpacket.__name__ == "copy_":
            return made
        if self.shifts is None:
            self._note(n.name, func, args, kwargs, before, made)
            return made
        return _each(lambda k, t: self._moved(t, (n.name, k), mutable), made)

    def _moved(self, tensor: torch.Tensor, key: _Key, mutable: bool) -> torch.Tensor:
        assert self.shifts is not None
        shift = self.shifts.get(key)
        if shift is None:
            return tensor
        return tensor.add_(shift) if mutable else tensor + shift

    def _note(
        self,
        name: str,
        func: OpOverload,
        args: object,
        kwargs: object,
        before: list[torch.Tensor],
        made: object,
    ) -> None:
        zero = torch.zeros(1, dtype=torch.float64)
        known = torch.cat([zero, *(t.reshape(-1) for t in before)])
        sums = None
        base = func.overloadpacket.__name__
        if base in _SUMS:
            sizes = func(*_changed(torch.abs, args), **_changed(torch.abs, kwargs))
            counts = func(*_changed(torch.ones_like, args), **_changed(torch.ones_like, kwargs))
            times = before[0].numel() if base == "mean" else 1
            pairs = zip(_listed(sizes), _listed(counts), strict=True)
            sums = [
                s * c * times / (c.numel() if times > 1 else 1) if _is_float(s) else None
                for s, c in pairs
            ]
        for k, t in enumerate(_listed(made)):
            if _is_float(t) and not torch.isin(t, known).all():  # what is only moved is exact
                size = torch.where(t.isfinite(), t.abs(), 0.0).numpy()
                terms = sums[k] if sums is not None else None
                plain = terms.numpy() if terms is not None else None
                self.sizes[name, k] = OperationSize(size, plain, base.rstrip("_") in _CORRECT)


def _bounds(
    graph: GraphModule, given: list[torch.Tensor], sizes: Mapping[_Key, OperationSize]
) -> Array:
    """Return the bound of each entry of all results, a column for each model."""
    shifts = {
        key: torch.zeros(s.result.shape, dtype=torch.float64).requires_grad_()
        for key, s in sizes.items()
    }
    results = torch.cat([t.reshape(-1) for t in _Shifted(graph, shifts).run(*given)])
    found = np.zeros((len(results), len(MODELS)))
    if not results.requires_grad:
        return found
    units = {key: size.units() for key, size in sizes.items()}
    rows = torch.eye(len(results), dtype=torch.float64)
    for at in range(0, len(rows), _ROWS):
        slopes = _jacobian(results, list(shifts.values()), rows[at : at + _ROWS])
        for key, slope in zip(shifts, slopes, strict=True):
            if slope is not None:
                found[at : at + _ROWS] += slope.reshape(len(slope), -1).abs().numpy() @ units[key]
    return found


def _jacobian(results: torch.Tensor, shifts: Tensors, rows: torch.Tensor) -> Weights:
    def pull(row: torch.Tensor, batched: bool) -> Weights:
        return torch.autograd.grad(
            results, shifts, row, is_grads_batched=batched, allow_unused=True, retain_graph=True
        )

    with contextlib.suppress(RuntimeError):  # an operation that has no batching rule
        return pull(rows, True)
    single = [pull(row, False) for row in rows]
    stacked = [[s[k] for s in single] for k in range(len(shifts))]
    used = [[g for g in parts if g is not None] for parts in stacked]
    return [torch.stack(parts) if parts else None for parts in used]


# -- tensors in arguments ------------------------------------------------------------------------


def _in_float64(value: object) -> object:
    """Return a dtype of floats, or a tensor of one, as float64."""
    if isinstance(value, torch.dtype):
        return torch.float64 if value.is_floating_point else value
    return value.double() if _is_float(value) and value.dtype != torch.float64 else value


def _is_float(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _changed(change: Callable[[torch.Tensor], torch.Tensor], tree: object) -> Any:
    return tree_map(lambda t: change(t.detach()) if _is_float(t) else t, tree)


def _listed(made: object) -> list[Any]:
    return list(made) if isinstance(made, tuple | list) else [made]


def _each(change: Callable[[int, torch.Tensor], torch.Tensor], made: object) -> object:
    if isinstance(made, tuple | list):
        return type(made)(change(k, t) if _is_float(t) else t for k, t in enumerate(made))
    return change(0, made) if _is_float(made) else made


def _parts(flat: Array, like: Sequence[Array]) -> Iterator[Array]:
    at = 0
    for array in like:
        yield flat[at : at + array.size].reshape(array.shape)
        at += array.size

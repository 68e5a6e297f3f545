"""A graph of operations, differentiated by PyTorch's autograd with torch's own functions."""

from typing import TYPE_CHECKING

import numpy as np

from manual_backprop.graph import GraphProblem
from reference.formats import BFLOAT16
from reference.oracles import Answer
from reference.oracles.forwards import as_it_is, graph_sum

if TYPE_CHECKING:
    import torch

# malloc returns multiples of 16 bytes. If an operand starts elsewhere, MKL adds in another order.
# Measured: last bits of products differ at 4, 8 and 12 bytes, never at 16, 32 or 48.
_ALIGNMENT = 16


def torch_answer(problem: GraphProblem) -> Answer:
    """Return the loss Σ cotangent · output, every step's value and every cotangent."""
    import torch

    # Copies: some of torch's functions write into what they are given.
    values = {key: as_tensor(np.array(array)) for key, array in problem.arrays.items()}
    for key in problem.floats:
        values[key].requires_grad_()
    cotangents = {key: as_tensor(np.array(array)) for key, array in problem.cotangents.items()}
    loss, made = graph_sum(problem.graph, "torch")(values, cotangents, as_it_is)
    values |= made
    wanted, outputs = [*made, *problem.floats], problem.graph.outputs
    found = torch.autograd.grad(
        [values[key] for key in outputs],
        [values[key] for key in wanted],
        [cotangents[key] for key in outputs],
        allow_unused=True,
    )
    gradients = {
        key: as_array((torch.zeros_like(values[key]) if g is None else g).detach())
        for key, g in zip(wanted, found, strict=True)
    }
    of_steps = {name: as_array(value.detach()) for name, value in made.items()}
    return Answer("torch", as_array(loss.detach()), gradients, values=of_steps)


def as_array(tensor: "torch.Tensor") -> np.ndarray:
    """Return the numbers of a tensor that needs no gradient."""
    import torch

    if tensor.dtype == torch.bfloat16:
        bits: np.ndarray = tensor.contiguous().view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    return tensor.numpy()


def as_tensor(array: np.ndarray) -> "torch.Tensor":
    """Return a C-contiguous, aligned tensor: on the array's own memory if it is so, else a copy.

    So the same numbers use the same kernel and give the same bits, whatever their layout was.
    """
    import torch

    if array.dtype == BFLOAT16:  # torch cannot read NumPy's bfloat16, so pass its bits
        return as_tensor(array.view(np.int16)).view(torch.bfloat16)
    flags = array.flags
    if flags.writeable and flags.c_contiguous:
        tensor = torch.from_numpy(array)
        if tensor.data_ptr() % _ALIGNMENT == 0:
            return tensor
        return tensor.clone()
    return torch.from_numpy(np.array(array, order="C", copy=True))

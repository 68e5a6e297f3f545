"""From NumPy's arrays to tensors and back."""

from typing import TYPE_CHECKING

import numpy as np

from reference.formats import BFLOAT16

if TYPE_CHECKING:
    import torch

# malloc returns multiples of 16 bytes. If an operand starts elsewhere, MKL adds in another order.
# Measured: last bits of products differ at 4, 8 and 12 bytes, never at 16, 32 or 48.
_ALIGNMENT = 16


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

"""What goes between the checker and a target's process: JSON and raw arrays, never code."""

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Layer, Network, Problem

Arrays = Mapping[str, npt.NDArray[Any]]
_KINDS = "fiub"  # floats, integers, booleans: nothing that could hold an object


def write(stream: BinaryIO, message: Mapping[str, Any], arrays: Arrays) -> None:
    """Write one message: two lengths, a JSON header, the arrays' bytes one after another."""
    kept = {name: np.asarray(a, order="C") for name, a in arrays.items() if a.dtype.kind in _KINDS}
    index = [[name, a.dtype.str, list(a.shape)] for name, a in kept.items()]
    header = json.dumps({"message": message, "arrays": index}).encode()
    body = b"".join(a.tobytes() for a in kept.values())
    stream.write(struct.pack("<QQ", len(header), len(body)) + header + body)
    stream.flush()


def read(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read one message; EOFError where the other side is gone."""
    header_size, body_size = struct.unpack("<QQ", _exactly(stream, 16))
    header = json.loads(_exactly(stream, header_size))
    body, start = _exactly(stream, body_size), 0
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, spelled, shape in header["arrays"]:
        dtype = np.dtype(spelled)
        count = int(np.prod(shape))
        array = np.frombuffer(body, dtype, count, start).reshape(shape)
        arrays[name] = array.copy()  # writable, and aligned
        start += count * dtype.itemsize
    return header["message"], arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = stream.read(count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def spell_problem(problem: Problem) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return a problem as JSON and arrays."""
    n = problem.network
    network = {
        "input_width": n.input_width,
        "layers": [
            {
                "width": layer.width,
                "activation": layer.activation,
                "parameters": dict(layer.parameters),
                "bias": layer.bias,
            }
            for layer in n.layers
        ],
        "loss": n.loss,
        "loss_parameters": dict(n.loss_parameters),
        "reduction": n.reduction,
    }
    arrays = {"x": problem.x, "targets": problem.targets}
    if problem.weights is not None:
        arrays["weights"] = problem.weights
    arrays |= {f"parameters/{k}": v for k, v in problem.parameters.items()}
    arrays |= {f"arrays/{k}": v for k, v in problem.arrays.items()}
    return network, arrays


def read_problem(network: Mapping[str, Any], arrays: Arrays) -> Problem:
    """Return the problem that `spell_problem` spelled."""
    layers = tuple(Layer(**layer) for layer in network["layers"])
    return Problem(
        network=Network(**{**network, "layers": layers}),
        parameters=_under("parameters/", arrays),
        x=arrays["x"],
        targets=arrays["targets"],
        weights=arrays.get("weights"),
        arrays=_under("arrays/", arrays),
    )


def _under(prefix: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

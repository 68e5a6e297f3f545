"""Layers: operations of several arrays, most of them with parameters. One class is one layer.

- `dense`: x W + b;
- `norms`: normalisation over the features of a sample;
- `convolution`: sums over windows of an image;
- `joins`: the sum and the product of two values.

Importing this package fills the registry `LAYERS`.
"""

from manual_backprop.layers import convolution, dense, joins, norms
from manual_backprop.layers.dense import Dense
from manual_backprop.spec import LAYERS

__all__ = ["LAYERS", "Dense", "convolution", "dense", "joins", "norms"]

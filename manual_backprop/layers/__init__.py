"""Layers: operations of several arrays, most of them with parameters. One class is one layer.

- `dense`: x W + b;
- `norms`, `channel_norms`, `channels_grouped`: normalisation over the features of a row, over
  channels, over groups of them;
- `convolution`, `transposed`: sums over windows of an image or a sequence;
- `pooling`: one number for each window; zeros around an image;
- `embedding`: tables, products of two values, rotations of positions;
- `joins`, `elementwise`: sums and products of two values; gates and masks;
- `attention`, `cells`, `cells_gated`: attention, and one step of a recurrent network;
- `distances`: losses of two and three values, the penalty of a weight;
- `label_losses`, `ctc`: losses with labels, as operations of a graph;
- `movements`: concatenation, slices, shapes;
- `reductions`: sums over axes, log-sum-exp.

Importing this package fills the registry `LAYERS`.
"""

from manual_backprop.layers import (
    attention,
    cells,
    cells_gated,
    channel_norms,
    channels_grouped,
    convolution,
    ctc,
    dense,
    distances,
    elementwise,
    embedding,
    joins,
    label_losses,
    movements,
    norms,
    pooling,
    reductions,
    transposed,
)
from manual_backprop.layers.dense import Dense
from manual_backprop.operation import LAYERS

__all__ = [
    "LAYERS",
    "Dense",
    "attention",
    "cells",
    "cells_gated",
    "channel_norms",
    "channels_grouped",
    "convolution",
    "ctc",
    "dense",
    "distances",
    "elementwise",
    "embedding",
    "joins",
    "label_losses",
    "movements",
    "norms",
    "pooling",
    "reductions",
    "transposed",
]

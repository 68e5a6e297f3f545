"""Embedding: rows of a table; a row that is used twice gets both gradients."""

import torch


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"labels": "T int(4)", "table": "4 D"}


def reference(labels, table):
    return table[labels]


class Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, labels, table):
        ctx.save_for_backward(labels)
        ctx.rows = len(table)
        return table[labels]

    @staticmethod
    def backward(ctx, dy):
        (labels,) = ctx.saved_tensors
        dtable = wide(dy).new_zeros(ctx.rows, dy.shape[-1])
        dtable = dtable.index_add(0, labels, wide(dy))
        return None, dtable.to(dy.dtype)

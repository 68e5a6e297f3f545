# exit: 0
# expect: right: an nn.Module whose backward is written by hand and fills .grad of its parameters; embeddings by index_add_
import torch
from torch import nn


class TiedEmbedding(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab, dim) * 0.02)

    def forward(self, idx):
        self.idx = idx
        return self.weight[idx]

    @torch.no_grad()
    def backward(self, dout):
        g = torch.zeros_like(self.weight)
        g.index_add_(0, self.idx.reshape(-1), dout.reshape(-1, dout.shape[-1]))
        self.weight.grad = g


class Linear(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias

    @torch.no_grad()
    def backward(self, dout):
        self.weight.grad = dout.T @ self.x
        self.bias.grad = dout.sum(0)
        return dout @ self.weight

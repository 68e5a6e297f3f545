# exit: 0
# expect: right: hidden_dims is a list, reg a constructor argument with half the squares; loss(X) without y gives scores
import numpy as np


def affine_forward(x, w, b):
    return x.reshape(x.shape[0], -1).dot(w) + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    return dout.dot(w.T).reshape(x.shape), x.reshape(x.shape[0], -1).T.dot(dout), dout.sum(axis=0)


class FullyConnectedNet(object):
    def __init__(self, hidden_dims, input_dim=12, num_classes=4, reg=0.1, weight_scale=0.5):
        self.reg, self.num_layers, self.params = reg, 1 + len(hidden_dims), {}
        dims = [input_dim] + list(hidden_dims) + [num_classes]
        for i in range(self.num_layers):
            self.params["W%d" % (i + 1)] = weight_scale * np.random.randn(dims[i], dims[i + 1])
            self.params["b%d" % (i + 1)] = np.zeros(dims[i + 1])

    def loss(self, X, y=None):
        caches, out = [], X
        for i in range(1, self.num_layers + 1):
            out, cache = affine_forward(out, self.params["W%d" % i], self.params["b%d" % i])
            caches.append((cache, out))
            if i < self.num_layers:
                out = np.maximum(0, out)
        if y is None: return out
        p = np.exp(out - out.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        N = len(y)
        loss, grads, dout = -np.log(p[range(N), y]).mean(), {}, p.copy()
        dout[range(N), y] -= 1
        dout /= N
        for i in range(self.num_layers, 0, -1):
            cache, z = caches[i - 1]
            if i < self.num_layers:
                dout = dout * (z > 0)
            W, b = "W%d" % i, "b%d" % i
            loss += 0.5 * self.reg * np.sum(self.params[W] ** 2)
            dout, grads[W], grads[b] = affine_backward(dout, cache)
            grads[W] += self.reg * self.params[W]
        return loss, grads

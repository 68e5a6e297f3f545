# exit: 0
import numpy as np


class TwoLayers:
    def __init__(self, input_dim=4, hidden_dim=3, num_classes=2, dtype=np.float32):
        self.dtype = dtype
        self.params = {
            "W1": np.random.randn(input_dim, hidden_dim),
            "b1": np.zeros(hidden_dim),
            "W2": np.random.randn(hidden_dim, num_classes),
            "b2": np.zeros(num_classes),
        }
        self.params = {k: v.astype(dtype) for k, v in self.params.items()}

    def loss(self, X, y):
        X = X.astype(self.dtype)
        p = self.params
        z = X @ p["W1"] + p["b1"]
        h = np.maximum(z, 0)
        s = h @ p["W2"] + p["b2"]
        e = np.exp(s - s.max(axis=1, keepdims=True))
        q = e / e.sum(axis=1, keepdims=True)
        n = len(X)
        loss = -np.log(q[np.arange(n), y]).mean()
        q[np.arange(n), y] -= 1
        q = (q / n).astype(self.dtype)
        dz = q @ p["W2"].T * (z > 0)
        grads = {"W2": h.T @ q, "b2": q.sum(axis=0), "W1": X.T @ dz, "b1": dz.sum(axis=0)}
        return loss, grads

"""Batch norm and cross-entropy step by step, the exercise of many courses; one step is wrong.

    manual-backprop check examples/check/batchnorm_exercise.py

The forward is written once, against an array namespace `xp`; `step` names what the backward by
hand gives a gradient for.
"""

import numpy as np

shapes = {"x": "N D", "W": "D H", "gamma": "H", "beta": "H", "V": "H C", "y": "N int(C)"}


def forward(xp, step, x, W, gamma, beta, V, y):
    h = step("h", x @ W)
    mu = step("mu", xp.mean(h, axis=0))
    centred = step("centred", h - mu)
    var = step("var", xp.mean(centred * centred, axis=0))
    rstd = step("rstd", 1 / xp.sqrt(var + 1e-5))
    normed = step("normed", centred * rstd)
    out = step("out", gamma * normed + beta)
    logits = step("logits", xp.tanh(out) @ V)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    logsum = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    hit = y[:, None] == xp.arange(V.shape[1])[None, :]
    return -xp.sum(xp.where(hit, shifted - logsum, xp.zeros_like(shifted))) / x.shape[0]


def backward(inputs, steps):
    x, W, gamma, V, y = (inputs[k] for k in ("x", "W", "gamma", "V", "y"))
    N = len(x)
    logits, out = steps["logits"], steps["out"]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    dlogits = (p - np.eye(V.shape[1])[y]) / N
    t = np.tanh(out)
    dV = t.T @ dlogits
    dout = (dlogits @ V.T) * (1 - t**2)
    dgamma = (dout * steps["normed"]).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dnormed = dout * gamma
    drstd = (dnormed * steps["centred"]).sum(axis=0)
    dvar = drstd * -0.5 * steps["rstd"] ** 3
    # `centred` is used twice, in `normed` and in `var`: its gradient has two terms.
    dcentred = dnormed * steps["rstd"]
    dmu = -dcentred.sum(axis=0)
    dh = dcentred + dmu / N
    return {
        "logits": dlogits, "V": dV, "out": dout, "gamma": dgamma, "beta": dbeta,
        "normed": dnormed, "rstd": drstd, "var": dvar, "centred": dcentred, "mu": dmu, "h": dh,
        "W": x.T @ dh, "x": dh @ W.T,
    }  # fmt: skip

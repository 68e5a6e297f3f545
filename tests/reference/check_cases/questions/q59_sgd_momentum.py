# exit: 2
# mistake: none in a gradient, there is none: the velocity is made anew in every call, so there is no momentum
# expect: optimi[sz]er|not a gradient|update|nothing
import numpy as np


def sgd_momentum(w, dw, config=None):
    if config is None:
        config = {}
    config.setdefault("learning_rate", 1e-2)
    config.setdefault("momentum", 0.9)
    v = np.zeros_like(w)
    v = config["momentum"] * v - config["learning_rate"] * dw
    next_w = w + v
    config["velocity"] = v
    return next_w, config

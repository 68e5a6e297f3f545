# exit: 1
# mistake: the factor h of the sigmoid's slope h (1 - h) is left out
# expect: first factor|left out
import numpy as np


def softmax(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return e / np.sum(e, axis=1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def get_initial_params(input_size, num_hidden, num_output):
    return {
        "W1": np.random.normal(size=(input_size, num_hidden)),
        "b1": np.zeros(num_hidden),
        "W2": np.random.normal(size=(num_hidden, num_output)),
        "b2": np.zeros(num_output),
    }


def forward_prop(data, one_hot_labels, params):
    h = sigmoid(data @ params["W1"] + params["b1"])
    y = softmax(h @ params["W2"] + params["b2"])
    cost = -np.sum(one_hot_labels * np.log(y)) / data.shape[0]
    return h, y, cost


def backward_prop(data, one_hot_labels, params, forward_prop_func):
    h, y, cost = forward_prop_func(data, one_hot_labels, params)
    n = data.shape[0]
    delta2 = (y - one_hot_labels) / n
    delta1 = (delta2 @ params["W2"].T) * (1 - h)
    return {
        "W1": data.T @ delta1,
        "b1": np.sum(delta1, axis=0),
        "W2": h.T @ delta2,
        "b2": np.sum(delta2, axis=0),
    }

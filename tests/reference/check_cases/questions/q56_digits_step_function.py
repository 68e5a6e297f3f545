# exit: 1
# mistake: the cost is the square and the output a sigmoid: delta_o lacks o(1 - o); hidden deltas and all weights inherit it
# expect: activation_skipped|skips_activation|derivative is left out|slope|o ?\*? ?\(1
import numpy as np

w_i_h = np.random.uniform(-0.5, 0.5, (5, 4))
w_h_o = np.random.uniform(-0.5, 0.5, (3, 5))
b_i_h = np.zeros((5, 1))
b_h_o = np.zeros((3, 1))


def step(img, l, learn_rate=0.01):
    """img and l are columns; updates the weights of the module."""
    global w_i_h, w_h_o, b_i_h, b_h_o
    # Forward propagation input -> hidden -> output
    h = 1 / (1 + np.exp(-(b_i_h + w_i_h @ img)))
    o = 1 / (1 + np.exp(-(b_h_o + w_h_o @ h)))
    # Cost / Error calculation
    e = 0.5 * np.sum((o - l) ** 2)
    # Backpropagation output -> hidden -> input
    delta_o = o - l
    delta_h = np.transpose(w_h_o) @ delta_o * (h * (1 - h))
    w_h_o = w_h_o - learn_rate * delta_o @ np.transpose(h)
    b_h_o = b_h_o - learn_rate * delta_o
    w_i_h = w_i_h - learn_rate * delta_h @ np.transpose(img)
    b_i_h = b_i_h - learn_rate * delta_h
    return e

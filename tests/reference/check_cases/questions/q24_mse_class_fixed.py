# exit: 0
# mistake: the loss is the mean of all N x D entries, the gradient is divided by N only
# expect: factor|number of (columns|outputs|classes|entries)|mean (of|over) all|N ?[*·×x] ?[DC]|D_out|columns
import numpy as np


class MeanSquaredError:
    def forward(self, prediction, target):
        assert prediction.shape == target.shape
        self.prediction = prediction
        self.target = target
        return np.mean(np.power(prediction - target, 2))

    def backward(self):
        return 2.0 * (self.prediction - self.target) / self.prediction.size

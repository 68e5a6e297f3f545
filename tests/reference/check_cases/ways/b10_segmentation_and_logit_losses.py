# exit: 0
# expect: right: __call__(pred, target) and gradient(pred, target); losses that are no sums over entries (Dice), and of logits
import numpy as np


class DiceLoss:
    def __init__(self, smooth=1.0):
        self.smooth = smooth

    def __call__(self, pred, target):
        inter = np.sum(pred * target)
        return 1 - (2 * inter + self.smooth) / (np.sum(pred) + np.sum(target) + self.smooth)

    def gradient(self, pred, target):
        union = np.sum(pred) + np.sum(target) + self.smooth
        inter = np.sum(pred * target)
        return -(2 * target * union - (2 * inter + self.smooth)) / union ** 2


class BCEWithLogitsLoss:
    def __call__(self, logits, target):
        loss = np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))
        return loss.mean()

    def gradient(self, logits, target):
        return (1 / (1 + np.exp(-logits)) - target) / logits.size

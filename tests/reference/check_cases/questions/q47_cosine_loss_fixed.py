# exit: 0
# mistake: the length of a depends on a, too: the term - cos * a / |a|^2 is missing
# expect: term|missing|lacks|norm|length|projection|constant
import numpy as np


def cosine_loss(a, b):
    """1 - cos of the angle between two vectors."""
    return 1.0 - np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


def cosine_loss_grad(a, b):
    """With respect to a."""
    na, nb = np.linalg.norm(a), np.linalg.norm(b)
    return -(b / (na * nb) - np.dot(a, b) * a / (na ** 3 * nb))

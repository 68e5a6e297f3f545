"""A fixed share of all problems, the same in every run of a seed."""


def sampled(seed: int, index: int, share: float, salt: int = 0) -> bool:
    """Say whether a problem is in a fixed share of all.

    As a coin would choose, so that the share is met in every cell: a step of SplitMix64 mixes all
    bits (Steele, Lea and Flood, 2014). A mere multiple of the index would come round with the
    number of cells and never meet most of them. Shares of different `salt` are independent.
    """
    bits = (index + _mixed(seed ^ salt)) % 2**64
    return _mixed(bits) < share * 2**64


def _mixed(bits: int) -> int:
    bits = (bits + 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
    return bits ^ bits >> 31

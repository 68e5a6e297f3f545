"""The functions that a formula may use, over balls that carry their slopes."""

from collections.abc import Callable

from reference.arithmetic.balls import DefinitionArithmetic, Term, dual, exact


class Undecided(Exception):
    """The formula says nothing at this sample: a condition is open, or a label is not there."""


def _sign(m: DefinitionArithmetic, x: Term) -> Term:
    ball = dual(x).value
    if ball > 0:
        return exact(1)
    if ball < 0:
        return exact(-1)
    if ball.is_zero():
        return exact(0)
    raise Undecided("a sign is open")


FUNCTIONS: dict[str, Callable[..., Term]] = {
    "exp": lambda m, x: m.exp(x),
    "log": lambda m, x: m.log(x),
    "log1p": lambda m, x: m.log1p(x),
    "expm1": lambda m, x: m.expm1(x),
    "tanh": lambda m, x: m.tanh(x),
    "sinh": lambda m, x: (m.exp(x) - m.exp(-x)) / 2,
    "cosh": lambda m, x: (m.exp(x) + m.exp(-x)) / 2,
    "erf": lambda m, x: m.erf(x),
    "erfc": lambda m, x: m.erfc(x),
    "erfcx": lambda m, x: m.exp(x * x) * m.erfc(x),
    "sign": _sign,
    "σ": lambda m, x: 1 / (1 + m.exp(-x)),
    "Φ": lambda m, x: m.erfc(-x / m.sqrt(exact(2))) / 2,
    "φ": lambda m, x: m.exp(x * x / -2) / m.sqrt(2 * m.pi),
    "max": lambda m, a, b: m.max(a, b),
    "min": lambda m, a, b: m.min(a, b),
}

"""What a function of second order is the derivative of: the first derivative in the same code.

hvp(w, …, v)      the gradient of ⟨gradient(w, …), v⟩, as H is symmetric
hessian(w, …)     the same, asked for its product with a random v
tanh_second(x)    the same of tanh_prime(x), or of tanh_prime(tanh(x)) where it takes the output

So second order is first order once more, and is read, judged and explained as that is. Whether the
first derivative is right is asked by itself.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reference.checks.code import vocabulary as words
from reference.checks.code.routine import Routine

NO_FIRST = (
    "it is of second order, and the first derivative that it belongs to was not found: a gradient "
    "of the same name that takes the same arguments"
)
OF_DIFFERENCES = "it is a difference quotient of the gradient, which is right to some digits only"


def first_derivatives(
    routine: Routine, gradients: Sequence[Routine], forwards: Sequence[Routine]
) -> list[Routine]:
    """Return the first derivatives that a function of second order may be the derivative of."""
    mine = {words.plain(a) for a in routine.required}

    def fits(first: Routine) -> bool:
        theirs = {words.plain(a) for a in first.required}
        if len(mine) == len(theirs) == 1:
            return True  # sigmoid_prime(y), sigmoid_second(x)
        return theirs <= mine and len(mine - theirs) == _takes_a_vector(routine)

    fitting = [g for g in gradients if g is not routine and fits(g)]
    stem = words.function_of(routine.short)
    named = [g for g in fitting if words.function_of(g.short) == stem]
    others = [g for g in fitting if not stem or not words.function_of(g.short)]
    found = named or (others if len(others) == 1 else [])
    return [r for g in found for r in (_with_its_output(g, forwards) or [g])]


def _takes_a_vector(routine: Routine) -> bool:
    """Whether it multiplies a vector, and so takes one argument more than the gradient."""
    found = words.words(routine.short)
    return bool({"hvp", "hvps", "hessp", "vp", "prod", "vec"} & set(found)) or bool(
        re.search(r"vector|product", words.plain(routine.short))
    )


def _with_its_output(first: Routine, forwards: Sequence[Routine]) -> list[Routine]:
    """Return x -> first(x) and x -> first(f(x)), which both keep f(x) as `output`.

    Many slopes take the output, as y (1 − y) does. [] where no function of its name is there.
    """
    stem = words.function_of(first.short)
    inner = next(
        (f for f in forwards if stem and words.function_of(f.short) == stem and not f.bound), None
    )
    if inner is None or first.bound or len(first.required) != 1 or len(inner.required) != 1:
        return []

    def composed(at_output: bool) -> Callable[[object], object]:
        def function(x: object) -> object:
            output = inner.function(x)
            return first.function(output if at_output else x)

        return function

    parameters = tuple(inspect.signature(composed(False)).parameters.values())
    name = f"{first.name} of {inner.name}(x)"
    found = [Routine(first.name, composed(False), parameters=parameters, node=first.node)]
    if not re.search(rf"\b(exp|tanh|cosh|{re.escape(inner.short)})\(", first.text()):
        found.append(Routine(name, composed(True), parameters=parameters, node=first.node))
    return found


def times_a_vector(routine: Routine) -> Routine:
    """Return the product with a vector v of what a routine returns: a Hessian, or f'' by entries.

    What takes a vector already stays as it is.
    """
    if _takes_a_vector(routine):
        return replace(routine, second=True)
    taken = {p.name for p in routine.parameters}
    name = next(n for n in ("v", "vector", "direction", "v_") if n not in taken)

    def product(*given: object, **named: object) -> object:
        vector = named.pop(name)
        return _product(routine.function(*given, **named), vector)

    vector = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY)
    return replace(
        routine,
        name=f"{routine.name} times {name}",
        function=product,
        parameters=(*routine.parameters, vector),
        returned=None,
        second=True,
    )


def _product(hessian: object, vector: Any) -> object:
    """Return H v; what has the shape of v holds the diagonal, as of an elementwise function."""
    h, n = np.asarray(hessian), np.size(vector)
    if np.shape(h) == np.shape(vector):
        return h * vector
    if np.shape(h) not in ((n, n), (*np.shape(vector), *np.shape(vector))):
        raise ValueError(f"a Hessian of shape {np.shape(h)}, expected ({n}, {n})")
    return (h.reshape(n, n) @ np.ravel(vector)).reshape(np.shape(vector))


def is_a_difference(routine: Routine, firsts: Sequence[Routine]) -> bool:
    """Whether it subtracts two values of the gradient from one another."""
    text = routine.text().partition("\n")[2]
    return any(len(re.findall(rf"\b{re.escape(g.short)}\(", text)) > 1 for g in firsts)

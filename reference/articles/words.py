"""The words and formulas of an audit: corrections, counterexamples, both sides' numbers."""

from collections.abc import Sequence

import numpy as np

from manual_backprop.articles.system import differentiable
from manual_backprop.operation import ByName
from reference.articles.derivatives import floats
from reference.articles.reorder import Arrangement

# What is wrong with a right side -> its correction.
_CHANGED = {
    "factor −1": r"-\left({}\right)",
    "factor 2": r"\tfrac12 \left({}\right)",
    "factor −2": r"-\tfrac12 \left({}\right)",
    "factor 1/2": r"2 \left({}\right)",
    "factor −1/2": r"-2 \left({}\right)",
    "transposition": r"\left({}\right)^T",
    "missing batch sum": r"\sum_n \left({}\right)_n",
}


def changed_formula(formula: str, changes: Sequence[str]) -> str:
    """Return the right side of a formula with the found changes made to it, in LaTeX."""
    text = formula.split(" = ")[-1]
    for change in reversed(changes):  # as evaluated: the shape first, then the factor
        text = _CHANGED[change].format(text)
    return text


def telling(left: np.ndarray, right: np.ndarray | None) -> tuple[int, ...]:
    """Return the entry where the sides differ most, or where the left one is largest."""
    values = floats(left)
    if right is None or np.shape(right) != values.shape:
        far = np.abs(values)
    else:
        apart = np.abs(values - floats(right))
        far = apart if apart.any() else np.abs(values)
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(far)), values.shape))


def digits_at(value: np.ndarray, entry: tuple[int, ...]) -> str:
    """Return one entry with 12 digits, and where it stands."""
    array = floats(value)
    shown = array[entry] if array.ndim == len(entry) else array.reshape(-1)[0]
    where = f" at {list(entry)}" if entry else ""
    return f"{float(shown):.12g}{where}"


def spell(found: Arrangement) -> str:
    """Return an arrangement in LaTeX, with its sign."""
    return ("-" if found.sign < 0 else "") + found.formula


def spell_case(inputs: ByName, left: np.ndarray, right: np.ndarray) -> str:
    """Return "x = [1, 0], y = 1: left 0.5, right 0.25"."""
    numbers = differentiable(inputs)
    given = [f"{name} = {value}" for name, value in inputs.items() if name not in numbers]
    given += [f"{name} = {_small(inputs[name])}" for name in numbers if inputs[name].any()]
    if not all(inputs[name].any() for name in numbers):
        given.append("all else 0")
    if not numeric(left) or not numeric(right):
        sides = f"left side {left}, printed right side {right}"
    elif np.shape(left) != np.shape(right):
        sides = f"left side {_small(floats(left))}, printed right side {_small(floats(right))}"
    else:
        entry = telling(left, right)
        where = f" at {list(entry)}" if entry else ""
        sides = (
            f"left side {floats(left)[entry]:.6g}, printed right side "
            f"{floats(right)[entry]:.6g}{where}"
        )
    return f"{', '.join(given)}: {sides}"


def _small(array: np.ndarray) -> str:
    if np.ndim(array):
        return f"[{', '.join(_small(part) for part in array)}]"
    return f"{float(array):.6g}"


def numeric(value: object) -> bool:
    """Whether a side is a number or an array, not a range or a name."""
    return not isinstance(value, (range, str))

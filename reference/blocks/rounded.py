"""What a formula loses when each of its primitives rounds: the error of a tape, step by step.

The error of a primitive is the rounding of its own result, plus |slope| · error of each operand
(running error analysis, Wilkinson 1963). Under the textbook model a layer may have this error: its
own formula may cancel, or take a slope from a rounded output.
"""

from collections.abc import Callable

import numpy as np

from reference.arithmetic.tape import OPCODES, Tape
from reference.formats import Array
from reference.rounding import RoundingUnit


def formula_errors(
    tape: Tape, inputs: Array, unit: RoundingUnit, multiplied_out: bool = False
) -> Array:
    """Return the error of each of the tape's values at inputs (K, M), as (values, M).

    multiplied_out: the rounding of a polynomial of the inputs is relative to the sum of its
    monomials' magnitudes. So much is lost if mean((x - μ)²) is computed as mean(x²) - μ².

    The error is infinite where an intermediate number overflows, unless it is caused by e^x.
    """
    run = _Propagation(inputs, unit, tape, multiplied_out)
    with np.errstate(all="ignore"):
        for k, (code, operands) in enumerate(zip(tape.code, tape.operands, strict=True)):
            name = OPCODES[code]
            if name == "INPUT":
                run.add(inputs[tape.argument[k]], 2 * unit.u * np.abs(inputs[tape.argument[k]]))
            elif name in ("CONST", "PI"):
                value = float(tape.constants[k]) if name == "CONST" else float(np.pi)
                run.add(np.full(inputs.shape[1], value, inputs.dtype), abs(value) * unit.u)
            else:
                run.apply(name, operands)
        return np.stack([run.errors[k] for k in tape.values])


class _Propagation:
    """The values and errors of the nodes, in order, each an array over the columns."""

    def __init__(self, inputs: Array, unit: RoundingUnit, tape: Tape, multiplied_out: bool) -> None:
        self.unit, self.function, self.tape = unit, unit.model.function, tape
        self.multiplied_out = multiplied_out
        self.values: list[Array] = []
        self.errors: list[Array] = []
        self.sizes: list[Array] = []  # Σ|monomials| of a polynomial, |value| of everything else
        self.masked: dict[int, Array | float] = {}  # see `_masked`
        self.lowest: list[Array] = []  # a lower bound of each value, whatever the rounding
        self.exp_overflow: list[Array] = []  # where the node overflowed because of an exponential
        self.zero = np.zeros(inputs.shape[1], inputs.dtype)
        self.longest = np.log(np.finfo(inputs.dtype).max) / 2

    def add(
        self,
        value: Array,
        error: Array | float,
        exp_overflow: Array | bool = False,
        lowest: Array | None = None,
        size: Array | None = None,
    ) -> None:
        """Add a node. Its error is infinite where it overflows.

        The overflow of an exponential is allowed: σ(x) = 1/(1 + e^{-x}) is then 0 or 1 everywhere.
        """
        large = ~(np.abs(value) <= self.unit.largest)
        beyond = (large & ~np.asarray(exp_overflow)) | np.isnan(error)
        self.values.append(value)
        self.errors.append(np.where(beyond, np.inf, self.zero + error))
        self.sizes.append(np.abs(value) if size is None else size)
        self.exp_overflow.append(large & exp_overflow)
        self.lowest.append(value - self.errors[-1] if lowest is None else lowest)

    def apply(self, name: str, operands: tuple[int, ...]) -> None:
        """Add the node of a primitive of earlier nodes."""
        values = [self.values[n] for n in operands]
        errors = [self.errors[n] for n in operands]
        exp_overflow: Array | bool = name == "EXP"
        for n in operands:
            exp_overflow = exp_overflow | self.exp_overflow[n]
        lowest = [self.lowest[n] for n in operands]
        if name in ("WHERE", "PICK", "MAX", "MIN", "ABS", "NEG"):
            size = self.sizes[operands[0]] if name == "NEG" else None
            lower_bound = _lowest_chosen(name, values, errors, lowest)
            value, error = _chosen(name, values, errors)
            if name in ("WHERE", "PICK") and self.tape.constants.get(operands[2]) == 0:
                error = np.where(values[0] > 0, error, np.fmax(error, self._masked(operands[1])))
            self.add(value, error, exp_overflow, lower_bound, size)
            return
        if name == "EXP":
            self.add(
                *self._exponential(values[0], errors[0]), exp_overflow, lowest=self._exp(lowest[0])
            )
            return
        value = _VALUES[name](*values)
        slopes = _SLOPES[name](value, *values)
        parts = [
            np.where(error == 0, 0, np.abs(slope) * error)
            for slope, error in zip(slopes, errors, strict=True)
        ]
        if name == "SQRT":  # |√(a + e) - √a| ≤ √|e|, also at 0, where the slope is infinite
            parts[0] = np.fmin(parts[0], np.sqrt(errors[0]))
        if name == "MUL":
            parts.append(np.where(errors[0] * errors[1] > 0, errors[0] * errors[1], 0))
        if name == "DIV":  # 1/b of b >= l > 0 lies between 0 and 1/l, however far b may be off
            far = (2 * errors[1] > np.abs(values[1])) & (lowest[1] > 0)
            most = np.maximum((values[1] - lowest[1]) / lowest[1], 1)
            parts[1] = np.where(far, np.abs(value) * most, parts[1])
        size = self._size(name, operands, value)
        own = self._own(name, size if self.multiplied_out else np.abs(value))
        rounded = sum(parts, self.zero) + own
        self.add(
            value, rounded, exp_overflow, lowest[0] + lowest[1] if name == "ADD" else None, size
        )

    def _size(self, name: str, operands: tuple[int, ...], value: Array) -> Array:
        """Return Σ|monomials| of a polynomial of the inputs, |value| of everything else."""
        sizes = [self.sizes[n] for n in operands]
        if name in ("ADD", "SUB", "SHIFT"):
            return np.asarray(sizes[0] + sizes[1])
        if name == "MUL":
            return np.asarray(sizes[0] * sizes[1])
        if name == "DIV" and self.tape.fixed[operands[1]]:
            return np.asarray(sizes[0] / sizes[1])
        return abs(value)

    def _masked(self, node: int) -> Array | float:
        """Return the error of a node if its masked exponentials e^{-∞} = 0 round like others.

        A mask replaces a weight e^{score} by 0. Example: in a softmax's p (dp - Σ p dp), where a
        mask leaves only one key, the exact result is 0, but the rounding of p dp remains.
        """
        if node not in self.masked:
            name, operands = OPCODES[self.tape.code[node]], self.tape.operands[node]
            parts = [self._masked(n) for n in operands]
            sizes = [self.sizes[n] for n in operands]
            found: Array | float = self.function * self.unit.u if name == "EXP" else 0.0
            if name == "MUL":
                found = parts[0] * sizes[1] + sizes[0] * parts[1]
            if name == "DIV":
                found = parts[0] / sizes[1]
            if name in ("ADD", "SUB", "SHIFT", "NEG"):
                found = sum(parts)
            self.masked[node] = found
        return self.masked[node]

    def _exp(self, value: Array) -> Array:
        return np.asarray(np.exp(np.minimum(value, self.longest)))

    def _exponential(self, value: Array, error: Array) -> tuple[Array, Array]:
        """Return e^x and its error, from both ends of x ± error if the error is more than 1."""
        made = self._exp(value)
        far = np.maximum(self._exp(value + error) - made, made - self._exp(value - error))
        passed = np.where(error > 1, far, made * error)
        return made, passed + self._own("EXP", made)

    def _own(self, name: str, size: Array) -> Array:
        """Return the rounding of a primitive's own result, given its size.

        That of an exponential is relative to 1, not to its value, because slopes are taken from
        rounded results: s (1 - s) of a sigmoid, p (1 - p) of a softmax. The same holds for
        1 - tanh², which here is SECH2: tanh² may be off by twice what tanh may.
        """
        u = self.unit.u
        if name in ("ADD", "SUB", "SHIFT"):  # no underflow
            return np.asarray(u * size)
        if name in ("MUL", "DIV", "SQRT"):
            return np.asarray(u * size + self.unit.floor)
        own = self.function * (u * (np.maximum(size, 1) if name == "EXP" else size))
        if name == "SECH2":
            own = np.maximum(own, 2 * self.function * u)
        return np.asarray(own + self.function * self.unit.floor)


def _chosen(name: str, values: list[Array], errors: list[Array]) -> tuple[Array, Array]:
    if name in ("ABS", "NEG"):
        return (np.abs(values[0]) if name == "ABS" else -values[0]), errors[0]
    if name in ("MAX", "MIN"):
        choose = np.maximum if name == "MAX" else np.minimum
        return choose(*values), np.maximum(*errors)
    c, a, b = values
    found = np.where(c > 0, errors[1], errors[2])
    # Rounding may change the choice, for example cos > margin where cos underflows.
    turned = np.maximum(errors[1], errors[2]) + np.abs(a - b)
    return np.where(c > 0, a, b), np.where(np.abs(c) <= errors[0], turned, found)


def _lowest_chosen(
    name: str, values: list[Array], errors: list[Array], lowest: list[Array]
) -> Array | None:
    """Return the lower bound of a choice: that of its branch, or the smaller one if it is open."""
    if name not in ("WHERE", "PICK"):
        return None
    c, open_ = values[0], np.abs(values[0]) <= errors[0]
    return np.where(open_, np.minimum(*lowest[1:]), np.where(c > 0, *lowest[1:]))


def _erf(x: Array) -> Array:
    from scipy import special

    return np.asarray(special.erf(x.astype(np.float64)), x.dtype)


_BELL = 2 / np.sqrt(np.pi)
_VALUES: dict[str, Callable[..., Array]] = {
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "SHIFT": lambda a, b: a - b,
    "MUL": lambda a, b: a * b,
    "DIV": lambda a, b: a / b,
    "LOG": np.log,
    "LOG1P": np.log1p,
    "EXPM1": np.expm1,
    "SQRT": np.sqrt,
    "TANH": np.tanh,
    "SECH2": lambda a: 1 / np.cosh(a) ** 2,
    "ERF": _erf,
    "ERFC": lambda a: 1 - _erf(a),
    "SIN": np.sin,
    "COS": np.cos,
}
_SLOPES: dict[str, Callable[..., tuple[Array | float, ...]]] = {
    "ADD": lambda y, a, b: (1.0, 1.0),
    "SUB": lambda y, a, b: (1.0, 1.0),
    "SHIFT": lambda y, a, b: (1.0, 1.0),
    "MUL": lambda y, a, b: (b, a),
    "DIV": lambda y, a, b: (1 / b, y / b),
    "LOG": lambda y, a: (1 / a,),
    "LOG1P": lambda y, a: (1 / (1 + a),),
    "EXPM1": lambda y, a: (y + 1,),
    "SQRT": lambda y, a: (0.5 / y,),
    "TANH": lambda y, a: (1 - y * y,),
    "SECH2": lambda y, a: (2 * y,),
    "ERF": lambda y, a: (_BELL * np.exp(-a * a),),
    "ERFC": lambda y, a: (_BELL * np.exp(-a * a),),
    "SIN": lambda y, a: (1.0,),
    "COS": lambda y, a: (1.0,),
}

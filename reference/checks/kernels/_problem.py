"""One problem that a kernel is asked: inputs and cotangents that every dtype holds exactly."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reference.checks.code import Path, generator
from reference.checks.kernels._findings import Array, in_dtype
from reference.checks.kinds.functions import FunctionSubject
from reference.checks.reading.shapes import bias_names, weight_names

_COTANGENTS = 2_000_000  # they are drawn from a stream of their own


Cotangents = Sequence[Array | None]


@dataclass(frozen=True)
class KernelProblem:
    """Inputs of a kernel, and what its outputs are weighed with."""

    drawn: Mapping[str, object]
    leaves: Mapping[Path, Array]
    index: int

    def cotangents(self, outputs: Cotangents, seed: int) -> list[Array | None]:
        """Return a random weight for each entry of the outputs; None for one without a gradient."""
        rng = generator(seed, self.index + _COTANGENTS, "")
        return [
            None if o is None else rng.choice((-1.0, 1.0), o.shape) * rng.uniform(0.5, 1.5, o.shape)
            for o in outputs
        ]

    def in_dtype(self, dtype: str) -> "KernelProblem":
        """Return it with inputs that a dtype holds."""
        return replace(self, leaves={p: in_dtype(a, dtype) for p, a in self.leaves.items()})


def drawn_problem(
    subject: FunctionSubject,
    seed: int,
    index: int,
    change: Callable[[dict[str, object]], None] = lambda drawn: None,
) -> KernelProblem:
    """Draw a problem; `change` may edit what was drawn."""
    drawn = subject.inputs(seed, index)
    change(drawn)
    leaves = subject.leaves(drawn)
    return KernelProblem(drawn, {p: a for p, a in leaves.items() if not _held(p, subject)}, index)


def _held(path: Path, subject: FunctionSubject) -> bool:
    """Whether a leaf counts as a constant: its gradient is None, and it is no weight or data."""
    written = subject.written
    name = path[0]
    trainable = weight_names([name]) or bias_names([name])
    return name in written.none and name != written.names[0] and not trainable


def sizes_to_try(subject: FunctionSubject) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield sizes at 1, odd ones, and sizes around the blocks that the kernel names."""
    letters = sorted({d for s in subject.layout.values() for d in s.dims if d.isalpha()})
    yield "every size 1", dict.fromkeys(letters, 1)
    yield "odd sizes", {d: _ODD[k % len(_ODD)] for k, d in enumerate(letters)}
    for block in _blocks(subject)[:_MAX_BLOCKS]:
        for letter in letters:
            for size in (block - 1, block + 1, 2 * block):
                yield f"{letter} = {size}, where the block is {block}", {letter: size}


_ODD = (7, 5, 3, 9, 11)
_MAX_BLOCKS = 2


def _blocks(subject: FunctionSubject) -> list[int]:
    """Return the sizes of blocks that a kernel names: BLOCK = 16, a default, a constant of it."""
    written = subject.written
    names = {**written.space, **written.defaults}
    found = {v for k, v in names.items() if type(v) is int and re.search(rf"\b{k}\b", written.text)}
    found |= {int(n) for n in re.findall(r"range\(.*?,\s*(\d+)\)", written.text)}
    return sorted(n for n in found if 2 <= n <= 128)

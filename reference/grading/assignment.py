"""An assignment: a TOML file that says what is asked for, what it is worth, how it is judged."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from manual_backprop.operation import InvalidInput
from reference.listing import derivation

Points = Annotated[float, Meta(ge=0, le=10_000)]
Seed = Annotated[int, Meta(ge=0, lt=2**62)]
Level = Literal["tensor", "hint", "name", "formula"]
DType = Literal["float64", "float32"]
LEVELS: tuple[Level, ...] = ("tensor", "hint", "name", "formula")


class Allowance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one submission may use."""

    seconds: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    """Processor time, and three times as much by the clock."""
    hang_seconds: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """Processor time without a sign of life."""
    memory_mb: Annotated[int, Meta(ge=256, le=65_536)] = 1024
    processes: Annotated[int, Meta(ge=1, le=1000)] = 16
    """Processes and threads of one submission, where the system can limit them."""
    file_mb: Annotated[int, Meta(ge=0, le=4096)] = 8
    open_files: Annotated[int, Meta(ge=32, le=4096)] = 64


class Problems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which random problems gradients are judged on."""

    count: Annotated[int, Meta(ge=2, le=100)] = 4
    public_seed: Seed = 0
    """What students may try themselves, by `manual-backprop check --seed`."""
    hidden_seed: Seed = 1
    dtypes: Annotated[tuple[DType, ...], Meta(min_length=1)] = ("float64",)
    """In which types gradients have to be right, and of which type they then are."""


class Dialect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a submission may be written differently from the reference solution."""

    layout: Literal["any", "reference"] = "any"
    """Samples as rows or columns, weights as (in, out) or (out, in)."""
    mean: Literal["any", "reference"] = "any"
    """Where 1/N stands: in the loss or in the layers."""
    forward: Literal["any", "reference"] = "any"
    """Whether a right gradient of another forward than the one asked for is paid."""
    cached: Literal["any", "reference"] = "any"
    """What a forward hands to its backward beside the output: in number, order and values."""


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One function asked for: a forward and its gradients."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    """What the reference solution calls the backward, as `check` names it."""
    gradients: Annotated[dict[str, Points], Meta(min_length=1)]
    """Points for each gradient, by what it is the gradient of."""
    forward: Points = 0.0
    """Points for a forward that computes what the reference solution does."""
    title: str = ""
    names: tuple[str, ...] = ()
    """What submissions may call it; needed only to tell "not attempted" from "missing"."""
    chapters: tuple[str, ...] = ()
    """Operations whose derivation of the book is shown on a student's page."""

    @property
    def heading(self) -> str:
        """What it is called for people."""
        return self.title or self.name

    @property
    def possible(self) -> float:
        """The points that it is worth."""
        return self.forward + sum(self.gradients.values())


class Assignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for."""

    reference: Annotated[str, Meta(min_length=1)]
    """The file of the reference solution, from the assignment's folder."""
    function: Annotated[tuple[Function, ...], Meta(min_length=1)]
    title: str = ""
    feedback: Level = "hint"
    limits: Allowance = Allowance()
    problems: Problems = Problems()
    dialect: Dialect = Dialect()

    @property
    def possible(self) -> float:
        """The points of all functions."""
        return sum(f.possible for f in self.function)


def read_assignment(path: Path) -> Assignment:
    """Return the assignment of a file, with the reference's path made absolute.

    Raises InvalidInput, which names the field, its value and what was expected.
    """
    if not path.is_file():
        raise InvalidInput(f"ASSIGNMENT={str(path)!r}: no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        plain = msgspec.toml.decode(text)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise InvalidInput(f"ASSIGNMENT={str(path)!r} is not TOML: {error}") from None
    try:
        assignment = msgspec.convert(plain, Assignment)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{path.name}: {_explained(str(error), plain)}") from None
    _check(assignment, path)
    reference = (path.parent / assignment.reference).resolve()
    return msgspec.structs.replace(assignment, reference=str(reference))


def _check(assignment: Assignment, path: Path) -> None:
    reference = path.parent / assignment.reference
    if not reference.is_file() or reference.suffix not in (".py", ".ipynb"):
        raise InvalidInput(
            f"{path.name}: reference = {assignment.reference!r}: expected a .py or .ipynb file "
            f"beside the assignment"
        )
    names = [f.name for f in assignment.function]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InvalidInput(f"{path.name}: function.name = {twice!r} is listed twice")
    if assignment.problems.public_seed == assignment.problems.hidden_seed:
        raise InvalidInput(
            f"{path.name}: problems.hidden_seed = {assignment.problems.hidden_seed}: expected "
            "another number than public_seed, which students know"
        )
    if "float64" not in assignment.problems.dtypes:
        raise InvalidInput(
            f"{path.name}: problems.dtypes = {list(assignment.problems.dtypes)}: expected float64 "
            "among them, in which gradients are certified"
        )
    for function in assignment.function:
        if function.possible <= 0:
            raise InvalidInput(
                f"{path.name}: function {function.name!r} is worth {function.possible:g} points: "
                "expected more than 0"
            )
        unknown = next((c for c in function.chapters if not derivation(c)), None)
        if unknown is not None:
            raise InvalidInput(
                f"{path.name}: chapters of {function.name!r}: {unknown!r} is not an operation of "
                "the book; `manual-backprop ops` lists them"
            )


def _explained(message: str, plain: Any) -> str:
    """Return a validation error with the field as TOML spells it, and its value."""
    what, _, where = message.partition(" - at `$")
    place = where.rstrip("`").lstrip(".")
    keys = re.findall(r"[^.\[\]]+", place.replace("[...]", ""))
    value = plain
    for key in keys:
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return f"{place}: {what}"
    if not place:
        return what
    shown = repr(value)
    if "missing required field" in what or "unknown field" in what:
        return f"{place}: {what}"
    return f"{place} = {shown if len(shown) <= 80 else shown[:77] + '...'}: {what}"

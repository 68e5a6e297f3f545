"""The ledger is what the frameworks answer today; a change is described in words."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Activation, LayerOperation, Loss
from reference.conventions import ledger
from reference.conventions.edges import discover_lengths
from reports.records import Convention

# Compiling the sweep in JAX takes seconds for each dtype; `ci` and `nightly` do both.
_DTYPES = ("float64",) if os.environ.get("HYPOTHESIS_PROFILE", "dev") == "dev" else ledger.DTYPES


@pytest.fixture(scope="module")
def committed() -> list[Convention]:
    """The ledger of the installed versions; at an upgrade the last kept, to say what changed."""
    return ledger.read(ledger.nearest() or sorted(ledger.FOLDER.glob("*.json"))[-1])


@pytest.mark.parametrize(
    "operations",
    [[*ACTIVATIONS.values(), *LOSSES.values()], *([layer] for layer in LAYERS.values())],
    ids=["activations and losses", *LAYERS],
)
def test_every_framework_answers_as_before(
    operations: list[Activation | Loss | LayerOperation], committed: list[Convention], every: int
) -> None:
    operations = operations[::every]
    names = {operation.name for operation in operations}
    before = [row for row in committed if row.dtype in _DTYPES and row.operation in names]
    after = ledger.discover(operations, _DTYPES)
    found = ledger.differences(before, after)
    assert not found, "\n".join(["the ledger has changed:", *found])


def test_a_changed_answer_is_said_in_words(committed: list[Convention]) -> None:
    row = committed[0]
    changed = msgspec.structs.replace(row, answers={**row.answers, "jax": "0.125"})
    (line,) = ledger.differences([row], [changed])
    assert row.operation in line and row.input in line and "jax answers 0.125, before" in line
    (gone,) = ledger.differences([row], [])
    assert "all agree now" in gone


def test_what_a_ledger_is_for_is_in_it(committed: list[Convention]) -> None:
    """Kink slopes, clamps and thresholds, constants, what is not finite: each was found."""
    kinks = [r for r in committed if "kink" in r.situation and len(set(r.answers.values())) > 1]
    clamps = [
        r for r in committed if "probability" in r.situation and not all(r.admissible.values())
    ]
    constants = [r for r in committed if r.situation == "somewhere" and r.deviation]
    not_finite = [r for r in committed if "inf" in r.situation and not all(r.admissible.values())]
    assert all((kinks, clamps, constants, not_finite))


def zeros(row: Convention, name: str) -> bool:
    return float(row.answers[name]) == 0 and float(row.answers["manual"]) != 0


KNOWN: dict[str, Callable[[Convention], bool]] = {
    "layer_norm of one number has a gradient by its weight": lambda r: (
        (r.operation, r.situation, r.dtype) == ("layer_norm", "x: times 1e6", "float32")
        and "x (2, 1)" in r.input
        and (r.truth, r.answers["manual"]) == ("0", "0")
        and abs(float(r.answers["torch"])) > 1
    ),
    "ctc_loss's gradient by log-probabilities is that by logits": lambda r: (
        (r.operation, r.situation, r.quantity) == ("ctc", "ordinary numbers", "slope")
        and set(r.deviation) == {"torch"}
    ),
    "attention that sees nothing is not 0 in JAX": lambda r: (
        r.operation == "attention" and "False" in r.situation and "jax" in r.deviation
    ),
    "squareplus overflows although its value does not": lambda r: (
        (r.operation, r.quantity, r.situation) == ("squareplus", "value", "largest")
        and {r.answers["torch"], r.answers["jax"]} == {"inf"}
        and {"torch", "jax"} == set(r.deviation)
        and np.isfinite(float(r.answers["manual"]))
    ),
    "logsumexp of all -inf has no gradient": lambda r: (
        (r.operation, r.quantity, r.situation) == ("logsumexp", "slope", "x: all -inf")
        and {r.answers["torch"], r.answers["jax"]} == {"nan"}
        and np.isfinite(float(r.answers["manual"]))
    ),
    **{
        f"{name} at NaN depends on the tensor's length": lambda r, name=name: (  # type: ignore[misc]
            (r.operation, r.quantity) == (name, "slope")
            and r.situation.startswith("NaN, alone")
            and "torch" in r.deviation
        )
        for name in ("hardtanh", "hardshrink", "softshrink", "elu", "celu", "hard_swish", "relu6",
                     "selu")
    },
    **{
        f"{name} at infinity is NaN": lambda r, name=name: (  # type: ignore[misc]
            (r.operation, r.situation) == (name, "inf") and r.answers["torch"] == "nan"
        )
        for name in ("silu", "gelu")
    },
    **{
        f"{name}' is 0 far out in JAX": lambda r, name=name: (  # type: ignore[misc]
            (r.operation, r.quantity) == (name, "slope") and zeros(r, "jax")
        )
        for name in ("elu", "selu")
    },
    **{
        f"{name}' is 0 in a saturated tail of PyTorch": lambda r, name=name: (  # type: ignore[misc]
            (r.operation, r.quantity) == (name, "slope") and zeros(r, "torch")
        )
        for name in ("sigmoid", "tanh")
    },
}  # fmt: skip
"""What is known of torch 2.13 and JAX 0.10.2 in public, to be met without being looked for."""


@pytest.mark.parametrize("what", KNOWN)
def test_what_is_publicly_known_is_found(what: str, committed: list[Convention]) -> None:
    assert any(KNOWN[what](row) for row in committed)


def test_an_answer_that_depends_on_the_length_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A injected bug: NumPy's tanh' of a NaN is 1 where the tensor is short."""
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    tanh = ACTIVATIONS["tanh"]

    def backward(x: Any, y: Any, dy: Any) -> Any:
        slope = tanh.backward(x, y, dy)
        return np.ones_like(slope) if len(x) < 8 and np.isnan(x).any() else slope

    wrong = dataclasses.replace(tanh, backward=backward)
    assert not list(discover_lengths([tanh], "float64"))
    (row,) = discover_lengths([wrong], "float64")
    assert (row.situation, row.quantity) == ("NaN, alone and among 64", "slope")
    assert row.deviation == {"manual": "1 alone, nan among 64"}


def test_on_a_kink_every_choice_between_the_slopes_is_admissible(
    committed: list[Convention],
) -> None:
    rows = [r for r in committed if r.situation == "kink" and r.truth.startswith("[")]
    assert rows and all(all(r.admissible.values()) for r in rows)


def test_one_operation_can_be_swept_by_itself() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    rows = ledger.discover([ACTIVATIONS["leaky_relu"]], ("float64",))
    kink = next(r for r in rows if r.situation == "kink")
    slope = ACTIVATIONS["leaky_relu"].defaults()["negative_slope"]
    assert set(kink.answers) == {"manual", "torch", "jax"} and kink.truth == f"[{slope:g}, 1]"

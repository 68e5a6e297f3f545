"""The ledger is what the frameworks answer today; a change is described in words."""

import os

import msgspec
import pytest

from manual_backprop.activations import ACTIVATIONS
from reference.conventions import ledger
from reports.records import Convention

# Compiling the sweep in JAX takes seconds for each dtype; `ci` and `nightly` do both.
_DTYPES = ("float64",) if os.environ.get("HYPOTHESIS_PROFILE", "dev") == "dev" else ledger.DTYPES


@pytest.fixture(scope="module")
def committed() -> list[Convention]:
    """The ledger of the installed versions; at an upgrade the last kept, to say what changed."""
    return ledger.read(ledger.nearest() or sorted(ledger.FOLDER.glob("*.json"))[-1])


def test_every_framework_answers_as_before(committed: list[Convention]) -> None:
    before = [row for row in committed if row.dtype in _DTYPES]
    after = ledger.discover(dtypes=_DTYPES)
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

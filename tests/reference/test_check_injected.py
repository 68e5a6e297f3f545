"""The catalogue as source files: every mistake is wrong, and is named by its own name.

A share of `benchmarks/check_injected.py --catalogue`; every save injects the same files.
"""

from typing import Any

import pytest
from injected_catalogue import NO_OWN_FORM, injected, injected_files
from injected_forms import ACTIVATION_FORMS, LOSS_FORMS
from randomcheck import Counts, check_file, run_catalogue

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from reference.checks.explain import catalogued
from reference.diagnosis.mistakes import CATALOGUE


@pytest.fixture(scope="module")
def counts() -> Counts:
    """The results of every tenth file."""
    return run_catalogue(3, every=10)


def test_no_file_without_its_mistake_is_accused(counts: Counts) -> None:
    assert counts.accused == counts.unchecked == []


def test_the_catalogue_is_found(counts: Counts) -> None:
    injected = sum(counts.injected.values())
    assert injected > 15
    assert sum(counts.found.values()) >= 0.95 * injected, counts.missed


def test_the_catalogue_is_named_by_its_own_names(counts: Counts) -> None:
    assert sum(counts.named.values()) >= 0.9 * sum(counts.injected.values()), counts.unnamed


def test_every_mistake_has_a_file_or_a_reason() -> None:
    files = list(injected_files(0))
    assert {f.name for f in files} | NO_OWN_FORM.keys() == CATALOGUE.keys()
    for one in files:
        assert one.wrong != one.right, one.name
        compile(one.wrong, one.name, "exec")
        compile(one.right, one.name, "exec")
    assert len({f.wrong for s in range(6) for f in injected("weight_sign", s)}) > 3  # dialects


def test_every_operation_has_a_form() -> None:
    assert ACTIVATION_FORMS.keys() | {"identity"} == ACTIVATIONS.keys()
    assert LOSS_FORMS.keys() == LOSSES.keys()


def test_a_search_without_the_catalogue_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(problem: Any) -> Any:
        return iter(())

    monkeypatch.setattr(catalogued, "spots_of", none)
    (one,) = injected("tanh_square_left_out", 3)
    counts = check_file(one)
    assert sum(counts.found.values()) == 1 and not sum(counts.named.values())

"""A check of random code: no right gradient is accused, injected mistakes are found and named.

A small share of `benchmarks/check_injected.py`; the seeds are fixed.
"""

from collections.abc import Callable
from typing import Any

import pytest
from randomcheck import Counts, check_injected, check_right, run
from randomtargets import target

from reference.checks.comparing import assessing as assess
from reference.checks.comparing import assessment

SEEDS = range(1_000, 1_020)


@pytest.fixture(scope="module")
def counts(every: int) -> Counts:
    """The results of a few dozen random sources."""
    return run(SEEDS[::every], SEEDS[::every])


def test_no_right_gradient_is_accused(counts: Counts) -> None:
    assert counts.accused == []


def test_nearly_every_right_gradient_is_checked(counts: Counts, every: int) -> None:
    assert len(counts.unchecked) <= 0.05 * len(SEEDS) / every, counts.unchecked


def test_mistakes_are_found(counts: Counts, every: int) -> None:
    injected, found = sum(counts.injected.values()), sum(counts.found.values())
    assert injected > 0.8 * len(SEEDS) / every
    assert found >= 0.98 * injected, counts.missed


def test_mistakes_are_named(counts: Counts) -> None:
    assert sum(counts.named.values()) >= 0.9 * sum(counts.injected.values()), counts.unnamed


def test_a_target_is_a_function_of_its_seed() -> None:
    assert [target(s) for s in range(20)] == [target(s) for s in range(20)]


def test_every_mistake_changes_the_source() -> None:
    for seed in range(60):
        made = target(seed)
        sources = {made.source, *(m.source for m in made.mistakes)}
        assert len(sources) > len(made.mistakes) * 0.8 + 0.2
        for mistake in made.mistakes:
            compile(mistake.source, made.family, "exec")
            assert mistake.pattern


def test_a_checker_that_always_says_yes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def yes(got: Any, *args: Any, **options: Any) -> Any:
        return got == got

    monkeypatch.setattr(assessment, "close", yes)
    counts = _some(check_injected)
    assert sum(counts.found.values()) < 0.98 * sum(counts.injected.values())


def test_a_checker_that_doubles_the_truth_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = assess.truths

    def doubled(*args: Any) -> Any:
        found = truths(*args)
        return found and {k: t._replace(value=2 * t.value) for k, t in found.items()}

    monkeypatch.setattr(assess.assess, "__defaults__", (doubled,))
    assert _some(check_right).accused


def _some(check: Callable[[int], Counts]) -> Counts:
    total = Counts()
    for seed in range(2_000, 2_004):
        total.add(check(seed))
    return total

"""A short run of the fuzz suite of benchmarks, and the fuzzer shown what must not pass."""

import random
from pathlib import Path
from typing import Any

import pytest
import stress_fuzz

COUNT = 150


@pytest.mark.parametrize("kind", list(stress_fuzz.ALL), ids=lambda kind: kind.__name__)
def test_nothing_broken_gets_away(kind: Any, tmp_path: Path) -> None:
    count = max(2, round(COUNT * stress_fuzz.ALL[kind]))
    tried, _ = kind(tmp_path, count, random.Random(7))
    assert tried == count


def test_the_fuzzer_catches_a_traceback_and_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(stress_fuzz.Escaped, match="ZeroDivisionError"):
        stress_fuzz.refused("injected", lambda: 1 // 0)
    monkeypatch.setattr(stress_fuzz, "SECONDS", 1)

    def hang() -> None:
        while True:
            pass

    with pytest.raises(stress_fuzz.Escaped, match="no end within 1 s"):
        stress_fuzz.refused("injected", hang)

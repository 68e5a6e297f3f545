"""A short run of the fuzz suite of benchmarks, and the fuzzer shown what must not pass."""

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import pytest

COUNT = 150


def _suite() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "stress_fuzz.py"
    spec = importlib.util.spec_from_file_location("stress_fuzz", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["stress_fuzz"] = module
    spec.loader.exec_module(module)
    return module


SUITE = _suite()


@pytest.mark.parametrize("kind", list(SUITE.ALL), ids=lambda kind: kind.__name__)
def test_nothing_broken_gets_away(kind: Any, tmp_path: Path) -> None:
    count = max(2, round(COUNT * SUITE.ALL[kind]))
    tried, refused = kind(tmp_path, count, random.Random(7))
    assert tried == count
    assert 0 <= refused <= tried


def test_the_fuzzer_catches_a_traceback_and_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SUITE.Escaped, match="ZeroDivisionError"):
        SUITE.refused("planted", lambda: 1 // 0)
    monkeypatch.setattr(SUITE, "SECONDS", 1)

    def hang() -> None:
        while True:
            pass

    with pytest.raises(SUITE.Escaped, match="no end within 1 s"):
        SUITE.refused("planted", hang)

"""What a report holds beside its run."""

from pathlib import Path

import msgspec
import pytest

from reference.conventions import ledger
from reference.oracles.torch_autograd import TorchAutograd
from reference.running import sections
from reports.records import Bench, Convention, TrialRow

DOCS = Path(__file__).parents[2] / "docs"
ROW = Convention(
    operation="relu", kind="activation", situation="kink", input="x = 0", quantity="slope",
    dtype="float64",
)  # fmt: skip


def test_versions_without_a_kept_ledger_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "path", lambda: tmp_path / "none.json")
    monkeypatch.setattr(ledger, "discover", lambda: [ROW])
    assert sections.section("conventions") == [ROW]
    ledger.write([ROW, ROW], tmp_path / "none.json")
    assert len(sections.section("conventions")) == 2


def test_without_a_framework_there_is_no_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchAutograd, "unavailable", lambda self: "torch is not installed")
    monkeypatch.setattr(ledger, "path", lambda: pytest.fail("asked for torch's version"))
    assert sections.section("conventions") == []


def test_the_kept_bench_is_the_measured_one() -> None:
    rows = msgspec.json.decode((DOCS / "costs.json").read_bytes())["result"]["rows"]
    steps = [row["seconds"] for row in rows if row["section"] == "training step"]
    kept = [r for r in sections.section("released") if isinstance(r, Bench)]
    assert [row.seconds for row in kept] == steps, "write it: python benchmarks/costs.py --write"
    assert all(row.origin.startswith("Measured 2") for row in kept)


def test_the_trial_is_kept() -> None:
    assert any(isinstance(record, TrialRow) for record in sections.section("released"))

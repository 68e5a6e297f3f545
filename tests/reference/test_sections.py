"""What a report holds beside its run."""

from pathlib import Path

import pytest

from reference.conventions import ledger
from reference.oracles.torch_autograd import TorchAutograd
from reference.running import sections
from reports.records import Convention, TrialRow

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


def test_the_trial_is_kept() -> None:
    assert any(isinstance(record, TrialRow) for record in sections.section("released"))

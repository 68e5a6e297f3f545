"""What a report holds beside its run."""

from pathlib import Path

import msgspec
import pytest

from reference.conventions import ledger
from reference.oracles.torch_autograd import TorchAutograd
from reference.running import sections
from reports.records import Bench, Convention, Limit, Record, TrialRow

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
    kept = [r for r in sections.section("baselines") if isinstance(r, Bench)]
    assert [row.seconds for row in kept] == steps, "write it: python benchmarks/costs.py --write"
    assert all(row.origin.startswith("Measured 2") for row in kept)


def test_the_trial_is_kept() -> None:
    assert any(isinstance(record, TrialRow) for record in sections.section("baselines"))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often the articles' section is made, with a cache of its own."""
    monkeypatch.setenv("MANUAL_BACKPROP_CACHE", str(tmp_path))
    count: list[int] = []

    def make() -> list[Record]:
        count.append(1)
        return [ROW, Limit(title="t", text=str(len(count)))]

    monkeypatch.setitem(sections.SECTIONS, "articles", make)
    return count


def test_a_section_is_kept_between_runs(
    made: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sections.section("articles")
    assert sections.section("articles") == first and len(made) == 1
    monkeypatch.setattr(sections, "_key", lambda: "another source, version or processor")
    assert sections.section("articles") != first and len(made) == 2
    monkeypatch.setenv("MANUAL_BACKPROP_CACHE", "")
    sections.section("articles")
    assert len(made) == 3


def test_a_kept_section_that_is_damaged_is_made_again(made: list[int], tmp_path: Path) -> None:
    sections.section("articles")
    (file,) = (tmp_path / "sections").iterdir()
    whole = file.read_bytes()
    for damaged in (b"", b"\xff", whole[:-40], whole.replace(b'"1"', b'"7"'), whole[30:]):
        file.write_bytes(damaged)
        before = len(made)
        sections.section("articles")
        assert len(made) == before + 1
        sections.section("articles")
        assert len(made) == before + 1


def test_the_key_knows_source_versions_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    key = sections._key.__wrapped__
    before = key()
    assert key() == before
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert key() != before
    monkeypatch.undo()
    monkeypatch.setattr(sections, "installed", lambda: {"numpy": "1.0"})
    assert key() != before
    monkeypatch.undo()
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"another")
    assert key() != before


def test_old_sections_are_deleted(made: list[int], tmp_path: Path) -> None:
    for number in range(2 * sections.MAX_KEPT):
        (tmp_path / "sections").mkdir(exist_ok=True)
        (tmp_path / "sections" / f"articles-{number}.jsonl").write_text("old")
    sections.section("articles")
    assert len(list((tmp_path / "sections").iterdir())) == sections.MAX_KEPT
    assert len(made) == 1 and sections.section("articles") and len(made) == 1

"""A long command says where it is, also where there is no terminal."""

import sys
import time

import pytest
from patience import wait_until

from reference.running import progress
from reference.running.progress import progress_bar, progress_lines
from reference.trials import trial as trials
from reports.records import Limit, TrialRow


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.05)


def wait_for(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    printed: list[str] = []

    def heard() -> bool:
        printed.append(capsys.readouterr().err)
        return text in "".join(printed)

    assert wait_until(heard)
    return "".join(printed)


def test_a_pipe_gets_lines(often: None, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("networks") as tell:
        assert "networks (0 s)" in wait_for("networks", capsys)
        tell(512, 2000)
        assert "512 of 2,000 networks (" in wait_for("512 of", capsys)
    with progress_lines("trial") as say:
        assert "trial (" in wait_for("trial", capsys)
        say("part 2 of 5, [mutants]")
        assert "part 2 of 5, [mutants] (" in wait_for("[mutants]", capsys)


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as tell:
        tell(1, 2)
    assert capsys.readouterr().err == ""


def test_a_trial_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    row = TrialRow(section="hiding places", row="r", columns={"unseen": 0, "injected": 1})
    for name in (
        "sensitivity", "mutants", "hidden_faults", "false_alarms", "hiding_places",
    ):  # fmt: skip
        monkeypatch.setattr(trials, name, lambda *_: iter([row]))
    monkeypatch.setattr(trials, "FRAMEWORKS", ("torch",))
    monkeypatch.setattr(trials, "faults", lambda _: [])
    monkeypatch.setattr(trials, "translation_faults", lambda _: iter([row]))
    monkeypatch.setattr(trials, "diagnosis_rows", lambda **_: [row, row])
    printed: list[str] = []
    records = trials.trial(10, 0, printed.append)
    assert [type(record) for record in records[:8]] == [TrialRow] * 8
    assert {type(record) for record in records[8:]} == {Limit}
    assert printed[0] == "part 1 of 7, sensitivity"
    assert printed[-1] == "part 7 of 7, hiding places: 8 rows so far"
    assert len(printed) == 7 + 8


def test_only_standard_error_is_written(often: None, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_lines("x"):
        time.sleep(0.2)
        print("result", file=sys.stdout)
    assert capsys.readouterr().out == "result\n"

"""The folder: whole or not at all, never over what is not a report, the same bytes again."""

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from examplereport import example_records

from reports import reading
from reports.__main__ import main
from reports.folder import (
    MARKER,
    PAGES,
    RECORDS,
    SUMMARY,
    TIMING,
    claim_folder,
    diff_folders,
    is_check,
    read_report,
    read_timing,
    rebuild,
    refuse_for_check,
    update_report,
    write_check,
    write_diff,
    write_report,
)
from reports.records import Accuracy, Limit, Record, ReportError, Run, TrialRow, encode_all, of_type

ROOT = Path(__file__).parents[2]
FILES = (RECORDS, SUMMARY, TIMING, *PAGES)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    # Without the accuracy curves, which take most of the time and have tests of their own.
    return [r for r in example_records(300, findings=3) if not isinstance(r, Accuracy)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_has_all_its_files(tmp_path: Path, records: list[Record]) -> None:
    summary = write_report(tmp_path / "out", records, {"seconds": 1.5})
    assert set(content(tmp_path / "out")) == {*FILES, MARKER}
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "nothing temporary is left"
    document = json.loads((tmp_path / "out" / SUMMARY).read_text())
    assert document["verdicts"] == summary.verdicts
    assert read_timing(tmp_path / "out") == {"seconds": 1.5}


def test_runs_of_one_seed_differ_in_their_times_alone(
    tmp_path: Path, records: list[Record]
) -> None:
    for name, seconds in (("a", 1.5), ("b", 2.5)):
        write_report(tmp_path / name, records, {"seconds": seconds})
    a, b = content(tmp_path / "a"), content(tmp_path / "b")
    assert {name for name in a if a[name] != b[name]} == {TIMING}


def test_the_same_records_give_the_same_bytes(tmp_path: Path, records: list[Record]) -> None:
    write_report(tmp_path / "a", records)
    write_report(tmp_path / "b", reversed(list(reversed(records))))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_pages_are_rebuilt_byte_for_byte(tmp_path: Path, records: list[Record]) -> None:
    write_report(tmp_path / "out", records, {"seconds": 1.5})
    before = content(tmp_path / "out")
    for name in FILES:
        if name not in (RECORDS, TIMING):
            (tmp_path / "out" / name).unlink()
    rebuild(tmp_path / "out")
    assert content(tmp_path / "out") == before


def test_rebuilding_needs_neither_framework_nor_numpy(
    tmp_path: Path, records: list[Record]
) -> None:
    write_report(tmp_path / "out", records)
    before = content(tmp_path / "out")
    script = """
import sys
class Block:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {"torch", "jax", "numpy", "scipy", "reference", "manual_backprop"}:
            raise ModuleNotFoundError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
from reports import reading
from reports.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == before


def test_the_blocking_above_can_fail() -> None:
    script = "import sys; sys.modules['numpy'] = None; import reports.html, numpy"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True).returncode


def test_a_folder_of_others_is_left_alone(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "index.html").write_text("mine")
    for write in (lambda: write_report(tmp_path, records), lambda: claim_folder(tmp_path)):
        with pytest.raises(ReportError, match="not a report's"):
            write()
    assert content(tmp_path) == {"index.html": b"mine"}


@pytest.mark.parametrize("fake", [b"{}\n", b"", b'{"type":"cell"}\n', b"\xff" * 100])
def test_a_file_of_the_right_name_does_not_make_a_report(
    tmp_path: Path, records: list[Record], fake: bytes
) -> None:
    (tmp_path / RECORDS).write_bytes(fake)
    with pytest.raises(ReportError, match="not a report's"):
        write_report(tmp_path, records)
    assert content(tmp_path) == {RECORDS: fake}


def test_an_empty_folder_and_an_old_report_are_taken(tmp_path: Path, records: list[Record]) -> None:
    claim_folder(tmp_path / "a")
    (tmp_path / "a" / "progress.sqlite").write_bytes(b"kept")
    write_report(tmp_path / "a", records)
    (tmp_path / "a" / MARKER).unlink()  # as an upload that drops hidden files leaves it
    write_report(tmp_path / "a", records[:1])
    assert len(read_report(tmp_path / "a")) == 1
    assert (tmp_path / "a" / "progress.sqlite").read_bytes() == b"kept"


PAGE = {"index.html": "<title>a check</title>", "summary.md": "a check"}
RUN = Run(command="manual-backprop report", seed=0, problems=1)


def test_a_check_and_a_report_share_no_folder(tmp_path: Path, records: list[Record]) -> None:
    write_check(tmp_path / "check", PAGE, '{"scripts": ["repro.py"]}', {"repro.py": "1"})
    write_report(tmp_path / "report", records)
    claim_folder(tmp_path / "unfinished")
    (tmp_path / "unfinished" / "progress.sqlite").write_bytes(b"hours")
    before = {p.name: content(p) for p in tmp_path.iterdir()}
    for take in (claim_folder, lambda folder: write_report(folder, records)):
        with pytest.raises(ReportError, match="holds the pages of a check; choose another folder"):
            take(tmp_path / "check")
    for name, what in (("report", "a report of random networks"), ("unfinished", "what is not")):
        for take in (refuse_for_check, lambda folder: write_check(folder, PAGE, "{}", {})):
            with pytest.raises(ReportError, match=f"holds {what}.*; choose another folder"):
                take(tmp_path / name)
    assert {p.name: content(p) for p in tmp_path.iterdir()} == before


def test_a_check_without_its_json_is_one_still(tmp_path: Path, records: list[Record]) -> None:
    write_check(tmp_path, PAGE, "{}", {})
    (tmp_path / "check.json").unlink()
    with pytest.raises(ReportError, match="holds the pages of a check"):
        write_report(tmp_path, records)
    write_check(tmp_path, PAGE, "{}", {})


def test_a_check_without_its_hidden_marker_is_one_still(
    tmp_path: Path, records: list[Record]
) -> None:
    write_check(tmp_path, PAGE, '{"exit_code": 0}', {})
    (tmp_path / MARKER).unlink()  # as an upload that drops hidden files leaves it
    with pytest.raises(ReportError, match="holds the pages of a check"):
        write_report(tmp_path, records)
    write_check(tmp_path, PAGE, "{}", {})


def test_a_check_deletes_only_what_the_one_before_wrote(tmp_path: Path) -> None:
    folder, outside = tmp_path / "check", tmp_path / "repro.py"
    outside.write_text("mine")
    named = ["repro_0_a.py", "../repro.py", "index.html", str(outside), 3]
    pages = ["check_1_a.html", "../check_1_a.html", "summary.md"]
    found = json.dumps(
        [{"scripts": named, "pages": pages}, {"scripts": ["repro_1_b.py"]}, {"target": "c"}]
    )
    others = {"repro_0_a.py": "1", "repro_1_b.py": "2", "check_1_a.html": "3"}
    write_check(folder, PAGE, found, others)
    (folder / "repro_my_notes.py").write_text("mine")
    write_check(folder, PAGE, "{}", {"repro_0_a.py": "3"})
    assert {p.name for p in folder.glob("*.py")} == {"repro_0_a.py", "repro_my_notes.py"}
    assert {p.name for p in folder.glob("*.html")} == {"index.html"}
    assert (folder / "repro_0_a.py").read_text() == "3"
    assert outside.read_text() == "mine"


def test_a_claimed_folder_is_free_for_a_check(tmp_path: Path) -> None:
    claim_folder(tmp_path)
    write_check(tmp_path, PAGE, "{}", {})
    assert is_check(tmp_path)


def test_a_file_in_the_way(tmp_path: Path, records: list[Record]) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ReportError, match="a file is in the way"):
        write_report(tmp_path / "out", records)
    with pytest.raises(ReportError, match="a file is in the way"):
        write_report(tmp_path / "out" / "deeper", records)
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "  ", "a\0b"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(ReportError, match="expected the name of a folder"):
        claim_folder(name)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_error_while_writing_leaves_the_old_report(
    tmp_path: Path,
    records: list[Record],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    after: int,
) -> None:
    write_report(tmp_path / "out", records[:1])
    before = content(tmp_path / "out")
    calls = 0

    def full(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    for folder in ("out", "new"):
        calls = 0
        with pytest.raises(ReportError, match=os.strerror(code)):
            write_report(tmp_path / folder, records)
    assert content(tmp_path / "out") == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_update_replaces_its_own_part(tmp_path: Path, records: list[Record]) -> None:
    write_report(tmp_path, records, {"seconds": 2.0})
    fresh = [
        Limit(title="only", text="one"),
        TrialRow(section="mutants", row="all", columns={"injected": 3, "killed": 2}),
    ]
    update_report(tmp_path, fresh)
    found = read_report(tmp_path)
    assert of_type(found, Limit) == [fresh[0]]
    rows = of_type(found, TrialRow)
    assert [row for row in rows if row.section == "mutants"] == [fresh[1]]
    assert {row.section for row in rows} == {"mutants", "sensitivity", "false alarms"}
    document = json.loads((tmp_path / SUMMARY).read_text())
    assert document["mutants"] == {"injected": 3, "killed": 2}
    assert read_timing(tmp_path) == {"seconds": 2.0}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "no such folder"),
        ("nothing", "not a report"),
        (b"", "is empty"),
        (b"<script>\n", "line 1: not a record"),
        (b'{"type":"run","schema":7,"x":1}\n', "newer than"),
    ],
)
def test_the_command_ends_with_one_line_and_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: bytes | str | None, message: str
) -> None:
    folder = tmp_path / "r\n<b>"
    if lines is not None:
        folder.mkdir()
    if isinstance(lines, bytes):
        (folder / RECORDS).write_bytes(lines)
    assert main([str(folder)]) == 2
    text = capsys.readouterr()
    assert message in text.err and text.err.count("\n") == 1 and text.out == ""


@pytest.mark.parametrize(
    ("redirected", "status", "text"),
    [
        ("> /dev/full", 2, "error: [Errno 28] No space left"),
        ("| true; exit ${PIPESTATUS[0]}", 141, ""),
    ],
)
def test_output_that_cannot_be_written_is_no_traceback(
    tmp_path: Path, records: list[Record], redirected: str, status: int, text: str
) -> None:
    write_report(tmp_path / "a", records)
    command = f"{sys.executable} -P -m reports {tmp_path / 'a'} {redirected}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert text in done.stderr and "Traceback" not in done.stderr


def test_the_command_rebuilds_and_prints(
    tmp_path: Path, records: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(tmp_path, records)
    assert main([str(tmp_path)]) == 0
    assert "DEVIATES(torch)" in capsys.readouterr().out


def test_a_difference_is_written_and_self_is_empty(tmp_path: Path, records: list[Record]) -> None:
    write_report(tmp_path / "a", records)
    write_report(tmp_path / "b", records[:-1])
    difference = diff_folders(tmp_path / "a", tmp_path / "a")
    assert difference.changes == [] and difference.exit_code == 0
    write_diff(tmp_path / "d", difference)
    assert set(content(tmp_path / "d")) == {"diff.html", "diff.md", "diff.txt", MARKER}


def test_lines_are_what_encode_all_gives(tmp_path: Path, records: list[Record]) -> None:
    write_report(tmp_path, records)
    assert (tmp_path / RECORDS).read_bytes() == b"".join(encode_all(records))


def deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


DAMAGED = {
    "half a character": b'{"scripts": ["\xff\xfe"]}',
    "not JSON": b"\x00" * 100,
    "half": b'{"scripts": ["repro',
    "deep": deep(1000),
    "deeper": deep(10**6),
    "a number": b"7",
    "a number of scripts": b'{"scripts": 7}',
    "a text of scripts": b'[{"scripts": "repro.py"}]',
    "nothing": b"",
}


def read_through(command: str, folder: Path) -> None:
    """What reads a folder of ours."""
    match command:
        case "diff":
            diff_folders(folder, folder)
        case "rebuild":
            rebuild(folder)
        case "update":
            update_report(folder, [Limit(title="only", text="one")])
        case "times":
            read_timing(folder)
        case "refuse for check":
            refuse_for_check(folder)
        case "check":
            write_check(folder, PAGE, '{"scripts": []}', {"repro_0.py": "3"})


@pytest.mark.parametrize("how", DAMAGED)
@pytest.mark.parametrize("name", [RECORDS, SUMMARY, TIMING, "check.json", MARKER])
@pytest.mark.parametrize("command", ["diff", "rebuild", "update", "times"])
def test_a_damaged_file_is_one_error_and_nothing_is_changed(
    tmp_path: Path, command: str, name: str, how: str
) -> None:
    write_report(tmp_path, [RUN])
    (tmp_path / name).write_bytes(DAMAGED[how])
    before = content(tmp_path)
    try:
        read_through(command, tmp_path)
    except ReportError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        assert content(tmp_path) == before


@pytest.mark.parametrize("how", DAMAGED)
@pytest.mark.parametrize("command", ["refuse for check", "check"])
def test_a_damaged_check_is_refused_before_anything_is_written(
    tmp_path: Path, command: str, how: str
) -> None:
    write_check(tmp_path, PAGE, '{"scripts": ["repro_0.py"]}', {"repro_0.py": "1"})
    (tmp_path / "check.json").write_bytes(DAMAGED[how])
    before = content(tmp_path)
    with pytest.raises(ReportError, match=r"check\.json: damaged"):
        read_through(command, tmp_path)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["repro_0.py", "repro_1.py", "summary.md"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    scripts = {"repro_0.py": "1", "repro_1.py": "2"}
    write_check(tmp_path, PAGE, json.dumps({"scripts": list(scripts)}), scripts)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    before = {p.name: p.is_dir() or p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ReportError, match="a folder is in the way"):
        read_through("check", tmp_path)
    assert {p.name: p.is_dir() or p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", [RECORDS, TIMING, "check.json", MARKER])
def test_a_pipe_and_a_device_do_not_stop_a_reader(tmp_path: Path, name: str) -> None:
    for kind in ("pipe", "device"):
        folder = tmp_path / kind
        write_check(folder, PAGE, "{}", {})
        (folder / name).unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(folder / name)
        else:
            os.symlink("/dev/zero", folder / name)
        for command in ("diff", "times", "refuse for check"):
            with suppress(ReportError):
                read_through(command, folder)


def test_files_and_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(tmp_path, [RUN], {"x" * 5000: 1.0})
    monkeypatch.setattr(reading, "MAX_LINE", 1000)
    (tmp_path / RECORDS).write_bytes((tmp_path / RECORDS).read_bytes() + b" " * 2000 + b"\n")
    with pytest.raises(ReportError, match="a line of more than 1,000 bytes"):
        read_report(tmp_path)
    monkeypatch.setattr(reading, "MAX_RECORDS", 2000)
    with pytest.raises(ReportError, match="expected at most 2,000"):
        read_report(tmp_path)
    with pytest.raises(ReportError, match="expected at most 100"):
        reading.read_bytes(tmp_path / TIMING, 100)
    with pytest.raises(ReportError, match="larger than 100 bytes"):
        reading.read_bytes(Path("/proc/self/maps"), 100)

"""The store loses no finished block, and leaves nothing behind that is not finished."""

import os
import random
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Outcome, Plan
from reference.running.store import NAME, Store, _sealed

KILLED = """
import os
from pathlib import Path
from reference.campaign import BlockResult, Plan
from reference.running.store import Store
store = Store(Path({folder!r}))
store.begin(Plan(problems=20), {{}})
store.add(BlockResult(0, 10, [], [], 0, 0, {{}}))
store._base.execute("PRAGMA cache_size = 1")  # so that the file is written before the commit
store._base.execute("BEGIN")
store._base.execute("INSERT INTO blocks VALUES (10, zeroblob(1000000))")
os.kill(os.getpid(), 9)
"""


def block(start: int) -> BlockResult:
    return BlockResult(start, start + 10, [], [], 0, 0, {})


def test_a_kill_in_the_middle_of_a_transaction_leaves_what_was_finished(tmp_path: Path) -> None:
    code = KILLED.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / NAME).stat().st_size > 500_000  # it was in the file already
    store = Store(tmp_path)
    assert store.finished() == {0}
    store.add(block(10))
    store.remove()
    assert not list(tmp_path.iterdir())


def test_a_run_resumed_at_its_pages_leaves_no_journal(tmp_path: Path) -> None:
    code = KILLED.format(folder=str(tmp_path)).replace('execute("BEGIN")', 'execute("SELECT 1")')
    code = code.replace("INSERT INTO blocks VALUES (10, zeroblob(1000000))", "SELECT 2")
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert len(list(tmp_path.iterdir())) == 2  # SQLite keeps its journal while it has the lock
    Store(tmp_path).remove()
    assert not list(tmp_path.iterdir())


def test_a_run_that_begins_while_another_ends_takes_no_file_that_is_about_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Store(tmp_path)
    first.begin(Plan(problems=20), {})
    once = os.fstat

    def ends_in_between(descriptor: int) -> os.stat_result:
        found = once(descriptor)
        monkeypatch.setattr(os, "fstat", once)
        first.remove()  # after the second has looked at the file, before it has the lock
        return found

    monkeypatch.setattr(os, "fstat", ends_in_between)
    second = Store(tmp_path)
    second.begin(Plan(problems=30), {})
    assert (tmp_path / NAME).is_file()
    with pytest.raises(InvalidInput, match="another run is writing this folder"):
        Store(tmp_path)
    second.close()
    third = Store(tmp_path)
    stored = third.plan()
    assert stored and stored[0].problems == 30
    third.close()


def test_what_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read or written"):
        Store(tmp_path / "nowhere")
    (tmp_path / NAME).mkdir()
    with pytest.raises(InvalidInput, match="cannot be read or written"):
        Store(tmp_path)


def whole_block(start: int) -> BlockResult:
    outcomes = [Outcome(start + i, "AGREE", 0.0, "", "") for i in range(10)]
    return BlockResult(start, start + 10, outcomes, [], 0, 0, {})


def test_blocks_come_back_in_order_and_a_new_run_forgets_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(Plan(problems=30), {})
    for start in (20, 0, 10):
        store.add(whole_block(start))
    assert [result.start for result in store.results()] == [0, 10, 20]
    store.begin(Plan(problems=30, seed=1), {})
    assert store.finished() == set()
    store.close()


@pytest.mark.parametrize(
    "damaged",
    [
        replace(whole_block(0), start=10),
        replace(whole_block(0), outcomes=whole_block(0).outcomes[1:]),
        replace(whole_block(0), stop=0),
    ],
)
def test_a_block_that_is_not_whole_is_damage(damaged: BlockResult, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.begin(Plan(problems=30), {})
    packed = zlib.compress(msgspec.msgpack.encode(damaged))
    sealed = _sealed(store._of + b"0", packed)
    store._base.execute("INSERT INTO blocks VALUES (0, ?)", (sealed,))
    with pytest.raises(InvalidInput, match="damaged, or not a campaign"):
        list(store.results())
    store.close()


def test_a_store_in_the_place_of_ours_is_left_alone(tmp_path: Path) -> None:
    """The folder was cleared under a run, and another has begun in it."""
    first = Store(tmp_path)
    first.begin(Plan(problems=20), {})
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}-journal").unlink(missing_ok=True)
    second = Store(tmp_path)
    second.begin(Plan(problems=30), {})
    first.remove()
    assert (tmp_path / NAME).is_file()
    second.close()


def test_a_link_to_a_file_of_somebody_is_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.sqlite"
    theirs.touch()
    (tmp_path / NAME).symlink_to(theirs)
    with pytest.raises(InvalidInput, match="cannot be read or written"):
        Store(tmp_path)
    assert theirs.read_bytes() == b""


def test_what_is_said_of_an_error_does_not_depend_on_the_folder_s_name(tmp_path: Path) -> None:
    for name in ("locked", "full"):
        with pytest.raises(InvalidInput, match="cannot be read or written"):
            Store(tmp_path / name / "nowhere")


def kept(folder: Path) -> list[object]:
    """What a run would go on from."""
    store = Store(folder)
    try:
        return [store.plan(), [msgspec.msgpack.encode(result) for result in store.results()]]
    finally:
        store.close()


def filled(folder: Path) -> bytes:
    store = Store(folder)
    store.begin(Plan(problems=4000), {"numpy": "2.4"})
    for start in range(0, 4000, 200):
        outcomes = [Outcome(start + i, "AGREE", i / 7, f"tensor {i}", "") for i in range(200)]
        store.add(BlockResult(start, start + 200, outcomes, [], 0, 0, {}))
    store.close()
    return (folder / NAME).read_bytes()


def test_an_altered_store_is_damage_and_never_another_run(tmp_path: Path) -> None:
    whole = filled(tmp_path)
    undamaged = kept(tmp_path)
    chance, refused = random.Random(1), 0
    for trial in range(300):
        altered = bytearray(whole)
        at = chance.randrange(len(altered))
        match trial % 3:
            case 0:
                altered[at] ^= 1 << chance.randrange(8)
            case 1:
                altered[at : at + 64] = chance.randbytes(64)
            case _:
                page = at // 4096 * 4096
                other = chance.randrange(len(altered) // 4096) * 4096
                altered[page : page + 4096] = whole[other : other + 4096]
        (tmp_path / NAME).write_bytes(altered)
        (tmp_path / f"{NAME}-journal").unlink(missing_ok=True)
        try:
            found = kept(tmp_path)
        except InvalidInput:
            refused += 1
            continue
        # What is not there any more is done again; what is there is as it was.
        assert found[0] in (undamaged[0], None)
        assert set(found[1]) <= set(undamaged[1])  # type: ignore[call-overload]
    assert refused > 200


def test_a_block_of_another_place_or_plan_is_damage(tmp_path: Path) -> None:
    filled(tmp_path)
    for change in (
        "UPDATE blocks SET start = 4000 WHERE start = 200",
        "UPDATE blocks SET result = (SELECT result FROM blocks WHERE start = 400) WHERE start = 0",
    ):
        store = Store(tmp_path)
        store._base.execute(change)
        store.close()
        with pytest.raises(InvalidInput, match="a checksum is wrong"):
            kept(tmp_path)
    store = Store(tmp_path)
    plan = store._kept_plan(Plan(problems=4001))
    store._base.execute("UPDATE plan SET plan = ?", (plan,))
    store.close()
    with pytest.raises(InvalidInput, match="a checksum is wrong"):
        kept(tmp_path)


def test_fresh_begins_anew_whatever_stands_there(tmp_path: Path) -> None:
    whole = filled(tmp_path)
    for damaged in (b"no database" * 1000, whole[:9000], whole[:100] + b"\xff" * 9000):
        (tmp_path / NAME).write_bytes(damaged)
        store = Store(tmp_path, fresh=True)
        assert store.plan() is None and store.finished() == set()
        store.begin(Plan(problems=30), {})
        with pytest.raises(InvalidInput, match="another run is writing this folder"):
            Store(tmp_path, fresh=True)
        store.add(whole_block(0))
        store.close()
        store = Store(tmp_path)
        assert store.finished() == {0}
        store.close()

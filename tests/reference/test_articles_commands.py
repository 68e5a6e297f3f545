"""The commands articles, explain and train, as a user calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from reference import cli

Run = Callable[..., "Done"]
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "textbook_line.py"


class Done(NamedTuple):
    """What a command left behind."""

    returncode: int | str | None
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a way to call a command inside this process, which has loaded the frameworks."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["manual-backprop", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(ended.value.code, *capsys.readouterr())

    return call


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("articles", "007"), "article='007'"),
        (("articles", "missing.py"), "'missing.py'"),
        (("explain", "007"), "'007'"),
        (("explain", "0:x"), "SEED:INDEX"),
        (("explain", "2-3-1:rleu"), "'rleu' is unknown"),
        (("train", "mnist"), "task='mnist'"),
        (("train", "iris", "--steps", "0"), "steps=0"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    run: Run, arguments: tuple[str, ...], expected: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and expected in done.stderr


def test_your_own_article(run: Run) -> None:
    done = run("articles", str(EXAMPLE), "--json")
    assert done.returncode == 0, done.stderr
    found = {one["claim"]: one for one in json.loads(done.stdout)}
    assert {name: one["verdict"] for name, one in found.items()} == {
        "delta": "RIGHT",
        "weight": "SHAPE",
        "bias": "RIGHT UP TO missing batch sum",
        "slope": "WRONG",
    }
    assert found["weight"]["correction"] == r"x^T\, \delta"
    assert found["slope"]["correction"] == "1 - y^2" and found["slope"]["counterexample"]
    assert all(one["article"] == "slide" for one in found.values())


def test_explain_writes_a_page(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "walk.html"
    done = run("explain", "002", "--html", str(page))
    assert done.returncode == 0 and "0.5·(−1) + 2·1 = 1.5" in page.read_text(encoding="utf-8")


def test_train_says_all_in_json(run: Run) -> None:
    done = run("train", "iris", "--steps", "3", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert set(found["losses"]) == {"manual", "torch", "jax"}
    assert len(found["distances"]["jax"]) == 3

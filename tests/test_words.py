"""The words that our sentences avoid: metaphors, and verbs in an order that nobody would say."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("manual_backprop", "reference", "reports", "benchmarks", "examples", "docs")
ENDINGS = {".py", ".md", ".html", ".js", ".css", ".ipynb", ".toml"}
FILES = ("README.md", "CONTRIBUTING.md", "pyproject.toml", "constraints.txt")

AVOIDED = (
    *("said", "told", "fell over", "on trial", "held to", "by custom", "goes on where"),
    *("is like none", "docket", "arbiter", "proven", "spoilt", "witness", "loud", "honest"),
    *("in plain sight", "no word of", "spoken of", "anew", "for ever", "somebody", "whoever"),
    *("mended", "stands where", "in place of which", "held against", "on test"),
)
_AVOIDED = re.compile(rf"(?<![\w-])({'|'.join(AVOIDED)})(?![\w-])")
KEPT = "docs/diff"
"""A kept result of two runs: its words are those of the version that made it."""


def avoided(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line numbers and words that a text should not have."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in _AVOIDED.finditer(line):
            yield number, found[0]


def texts() -> Iterator[Path]:
    """Yield the files whose sentences users and contributors read."""
    yield from (ROOT / name for name in FILES)
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            inside = file.relative_to(ROOT).as_posix()
            if file.suffix in ENDINGS and not inside.startswith(KEPT):
                yield file


def test_no_sentence_has_an_avoided_word() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}: {word}"
        for file in texts()
        for number, word in avoided(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("word", AVOIDED)
def test_an_avoided_word_is_found(word: str) -> None:
    text = f"A fine line.\nHere {word} is, and {word}-like or x_{word} is not.\n"
    assert [number for number, _ in avoided(text)] == [2]


def test_every_part_of_the_project_is_read() -> None:
    names = {file.relative_to(ROOT).parts[0] for file in texts()}
    assert names == {*FOLDERS, *FILES}

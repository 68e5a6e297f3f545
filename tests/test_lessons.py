"""The lessons are clean and complete; `examples/run_lessons.py` executes them, as CI does."""

import ast
import json
from pathlib import Path

import pytest

from manual_backprop.articles import ARTICLES

LESSONS = sorted((Path(__file__).parent.parent / "examples" / "lessons").glob("*.ipynb"))


def test_one_lesson_an_article() -> None:
    assert [path.name.split("_")[1] for path in LESSONS] == list(ARTICLES)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_clean_and_goes_all_the_way(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    text = {"code": "", "markdown": ""}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        text[cell["cell_type"]] += source + "\n"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            ast.parse(source)
    for part in ("## Derive", "## Check", "## Break", "## Read the diagnosis and repair"):
        assert part in text["markdown"]
    for needed in ("assert right.ok", "assert not broken.ok", "audit([", "walk("):
        assert needed in text["code"]

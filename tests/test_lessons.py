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
    text, counts, outputs = {"code": "", "markdown": ""}, [], []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        text[cell["cell_type"]] += source + "\n"
        if cell["cell_type"] == "code":
            counts.append(cell["execution_count"])
            outputs += [output["output_type"] for output in cell["outputs"]]
            ast.parse(source)
    # Run once from top to bottom, by `run_lessons.py --write`, and its outputs stored.
    assert counts == list(range(1, len(counts) + 1))
    assert outputs and "error" not in outputs
    for part in ("## Derive", "## Check", "## Break", "## Read the diagnosis and repair"):
        assert part in text["markdown"]
    for needed in ("assert right.ok", "assert not broken.ok", "audit([", "walk("):
        assert needed in text["code"]

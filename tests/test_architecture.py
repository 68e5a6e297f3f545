"""What the pages promise exists: files and functions, every verdict, this version."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from reports.summary import KINDS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:reference|reports)/[\w/]+\.py)`(?: `(\w+)`)?", PAGE)


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_the_page_names_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    if name:
        assert name in {getattr(node, "name", None) for node in tree.body}


def test_the_page_has_both_walks_in_at_most_twenty_steps() -> None:
    walks = PAGE.split("\n## ")[1:]
    assert [w.split("\n")[0] for w in walks] == [
        "`manual-backprop report`",
        "`manual-backprop check FILE`",
    ]
    assert all(10 < len(re.findall(r"^\d+\. ", walk, re.M)) <= 20 for walk in walks)
    assert len(NAMED) > 30


def test_the_readme_explains_every_verdict_in_the_order_in_which_they_apply() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z]+(?:\(manual\))?)(?:\(who\))?` \| .{20,} \|$", readme, re.M)
    assert rows == ["DEVIATES(manual)", *KINDS]


def test_one_version_is_named_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]

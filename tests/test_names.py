"""Names: each class has one of its own, and none is a metaphor that the field has a term for."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("manual_backprop", "reference", "reports", "benchmarks")

METAPHORS = {
    *(
        "docket",
        "hearing",
        "court",
        "dock",
        "fate",
        "witness",
        "witnesses",
        "arbiter",
        "arbitrated",
    ),
    *("customary", "by_custom", "centre", "careful", "tally", "stranger", "draft", "watched"),
    *("spoilt", "planted", "mistaken", "layering", "on_trial", "sponge", "pace", "isolation"),
}
"""Words that are no name here, nor a part of one between underscores."""
PREFIXES = ("MOST_", "LONGEST_", "LEAST_", "SHORTEST_")
"""A limit is named MAX_ or MIN_."""
METAPHORIC_CLASSES = {
    *("Docket", "Hearing", "Court", "Dock", "Fate", "Leaf", "Around", "Fold", "Given", "Local"),
    *("Draft", "Place", "Planted", "Tally", "Stranger", "Written", "Pace", "Told", "Said"),
}


@cache
def trees() -> list[tuple[str, ast.Module]]:
    """Return the product's files and their syntax trees."""
    return [
        (file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8")))
        for folder in FOLDERS
        for file in sorted((ROOT / folder).rglob("*.py"))
    ]


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the lines and names that a tree gives to something."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


@cache
def metaphor(name: str) -> bool:
    """Say whether a name has a word that the field has a term for."""
    bare = name.strip("_")
    inside = re.search(rf"(?:^|_)(?:{'|'.join(METAPHORS)})(?:_|$)", bare.lower())
    at_most = bare.isupper() and (bare.startswith(PREFIXES) or bare.endswith("_AT_MOST"))
    return bool(inside) or at_most or bare in METAPHORIC_CLASSES


def test_no_name_is_a_metaphor() -> None:
    found = [
        f"{file}:{line}: {name}"
        for file, tree in trees()
        for line, name in names(tree)
        if metaphor(name)
    ]
    assert found == []


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file}:{node.lineno}")
    assert len(places) > 300
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize(
    "source",
    [
        *("class Draft: pass", "class _Planted: pass", "careful = 1", "def f(witness): pass"),
        *("MOST_STEPS = 3", "_LONGEST_LIST = 4", "STEPS_AT_MOST = 2", "self.my_tally = 0"),
        "def run_on_trial(): pass",
    ],
)
def test_a_metaphor_is_found(source: str) -> None:
    assert any(metaphor(name) for _, name in names(ast.parse(source)))


def test_plain_names_pass() -> None:
    source = "class Layer: pass\nMAX_STEPS = 3\ndef careless(drafting, court_case_free): pass"
    assert [n for _, n in names(ast.parse(source)) if metaphor(n)] == ["court_case_free"]

"""The derivation book: one chapter an operation, every formula in it checked.

- `tokens`, `parsing`: the formulas of a docstring as trees;
- `functions`, `evaluating`: a tree's value over balls;
- `samples`: where they are evaluated; `checking`: what must hold, and what is wrong;
- `deriving`: from the value's formula to the slope's, rule by rule, each step checked;
- `measuring`, `plotting`, `mistake_rows`: what a chapter shows beside its formulas;
- `chapters`: the whole book. `reports.book` makes the page.
"""

from collections.abc import Callable
from pathlib import Path


def command(out: Path, say: Callable[[str], None]) -> int:
    """Build the book into a folder; return 1, and say why, when a formula fails."""
    from reference.book.chapters import build
    from reference.book.checking import Unchecked
    from reports.book import render_book
    from reports.folder import claim_folder, write_book

    claim_folder(out)
    try:
        book = build(progress=say)
    except Unchecked as error:
        say(str(error))
        return 1
    formulas = sum(len(chapter.statements) + len(chapter.steps) for chapter in book.chapters)
    page = write_book(out, render_book(book))
    say(f"{len(book.chapters)} chapters, {formulas} formulas checked: {page}")
    return 0

"""Build the documentation site, with the book, an example report, the lessons and the API.

python docs/site.py                       # makes book and report first, then site/index.html
python docs/site.py --report FOLDER --book FOLDER --out FOLDER   # takes those that are there

The other functions are hooks of mkdocs: they add the pages that stand outside `docs`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPORT, BOOK = "SITE_REPORT", "SITE_BOOK"
API = {
    "manual_backprop": ("network", "graph", "operation", "second_order", "fast", "optimisers"),
    "reference": ("oracles", "judge", "strategies", "pytest_plugin", "checks.checker"),
    "reports": ("records", "folder"),
}
"""The modules whose public names the site documents, by package."""
AS_TEXT = Path("docs/diff/diff.md")
"""Shown as it is written: `diff.html` beside it is the page."""
LINK = re.compile(r"\]\(((?!https?:|#|mailto:)[^)#\s]+)(#[^)]*)?\)")


def main() -> int:
    """Build the site; return mkdocs' exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="the folder to write")
    parser.add_argument("--report", type=Path, help="a report's folder; made when left out")
    parser.add_argument("--book", type=Path, help="a book's folder; made when left out")
    given = parser.parse_args()
    for option, folder in (("--report", given.report), ("--book", given.book)):
        if folder is not None and not folder.is_dir():
            parser.error(f"{option} {folder}: no such folder")
    with tempfile.TemporaryDirectory() as made:
        report, book = given.report or Path(made, "report"), given.book or Path(made, "book")
        if given.report is None:
            _command("report", "--problems", "500", "--out", str(report))
        if given.book is None:
            _command("book", "--out", str(book))
        where = {REPORT: str(report.resolve()), BOOK: str(book.resolve())}
        mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "mkdocs.yml"]
        return subprocess.run(
            [*mkdocs, "-d", str(given.out.resolve())], cwd=ROOT, env={**os.environ, **where}
        ).returncode


def _command(*arguments: str) -> None:
    """Run one of our own commands."""
    subprocess.run([sys.executable, "-m", "reference", *arguments], cwd=ROOT, check=True)


def on_files(files: Any, config: Any) -> Any:
    """Add README, CHANGELOG, CONTRIBUTING, lessons, book, report and the pages made here."""
    from mkdocs.structure.files import File

    def page(name: str, content: str) -> None:
        files.append(File.generated(config, name, content=content))

    def copy(name: str, source: Path) -> None:
        files.append(File.generated(config, name, abs_src_path=str(source)))

    page("index.md", _moved(ROOT / "README.md", Path("docs")))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        page(name, _moved(ROOT / name, Path("docs")))
    for lesson in sorted((ROOT / "examples" / "lessons").glob("*.ipynb")):
        copy(f"lessons/{lesson.name}", lesson)
    for folder, variable in (("report", REPORT), ("book", BOOK)):
        for file in sorted(Path(os.environ[variable]).rglob("*")):
            if file.is_file() and file.suffix != ".md":
                copy(f"{folder}/{file.relative_to(os.environ[variable]).as_posix()}", file)
    page("api.md", _api())
    page("files.md", _named_files())
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Send a link that leaves `docs` to where the site has the file."""
    here = Path("docs", page.file.src_uri).parent
    return LINK.sub(lambda m: f"]({_target(here, m[1])}{m[2] or ''})", markdown)


def _target(here: Path, link: str) -> str:
    """Return the link from a page of `here` to a file of the project, as the site has it."""
    file = Path(os.path.normpath(here / link))
    up = "../" * (len(here.parts) - 1)
    if file.parts[0] == "docs" and file != AS_TEXT:
        return link
    if file.name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        return up + file.name
    if file.name == "README.md":
        return f"{up}index.md"
    return f"{up}files.md#{_anchor(file)}"


def _moved(source: Path, to: Path) -> str:
    """Return a page's text with its links as they are from the folder `to`."""
    text = source.read_text(encoding="utf-8")
    return LINK.sub(lambda m: f"]({os.path.relpath(m[1], to)}{m[2] or ''})", text)


def _anchor(file: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "-", file.as_posix().lower()).strip("-")


def _api() -> str:
    """Return the page of all documented modules."""
    modules = [f"{package}.{name}" for package, names in API.items() for name in names]
    return "# API\n\n" + "".join(f"::: {name}\n\n" for name in modules)


def _named_files() -> str:
    """Return the page with the text of each file outside `docs` that a page links to."""
    named = set()
    for source in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        here = source.parent.relative_to(ROOT)
        for link in LINK.findall(source.read_text(encoding="utf-8")):
            file = Path(os.path.normpath(here / link[0]))
            if file == AS_TEXT or (file.parts[0] != "docs" and file.suffix != ".md"):
                named.add(file)
    parts = ["# Files that the pages name\n"]
    for file in sorted(named):
        parts.append(f"## {file.as_posix()} {{ #{_anchor(file)} }}\n")
        inside = [ROOT / file] if (ROOT / file).is_file() else sorted((ROOT / file).glob("*.py"))
        for one in inside:
            if one != ROOT / file:
                parts.append(f"### {one.name}\n")
            kind = "python" if one.suffix == ".py" else "text"
            parts.append(f"````{kind}\n{one.read_text(encoding='utf-8')}\n````\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())

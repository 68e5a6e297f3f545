"""The pictures of the README and of docs: `python examples/picture.py REPORT BOOK CHECK FOLDER`.

The first three are folders that `manual-backprop report`, `book` and `check` have written. Each
page is opened from its file with the network off, as a reader opens it. To make all pictures again:

    manual-backprop report --out report
    manual-backprop book --out book
    manual-backprop check examples/check/homework.py --report check
    python examples/picture.py report book check docs/pictures
"""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = "--no-sandbox --disable-gpu --disable-background-networking --no-first-run".split()
COLOURS = 128  # of a picture's palette: text stays sharp, and a file small


@dataclass(frozen=True)
class Picture:
    """One picture: of which page, at which place, in which window."""

    name: str
    page: str
    at: str = ""
    width: int = 1280
    height: int = 1000
    scheme: str = "light"
    click: str = ""


PICTURES = (
    Picture("report", "report/index.html"),
    Picture("matrix", "report/index.html", "matrix", click="button.square[data-kind=deviates]"),
    Picture("finding", "report/index.html", "findings", height=1100, scheme="dark"),
    Picture("phone", "report/index.html", width=390, height=1180, scheme="dark"),
    Picture("book", "book/book.html"),
    Picture("chapter", "book/book.html", "activation-gelu", height=1100),
    Picture("check", "check/index.html", height=1260),
)


def shoot(page: Page, picture: Picture) -> bytes:
    """Return one screenful as a PNG of few colours."""
    if picture.at:
        page.locator(f'a[href="#{picture.at}"]').first.click()
    if picture.click:
        page.locator(picture.click).first.click()
    page.wait_for_timeout(300)
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        small = shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        out = io.BytesIO()
        small.save(out, "png", optimize=True)
    return out.getvalue()


def main(report: str, book: str, check: str, folder: str) -> None:
    """Make every picture."""
    folders = {"report": report, "book": book, "check": check}
    roots = {name: Path(path).resolve() for name, path in folders.items()}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for picture in PICTURES:
            root, _, file = picture.page.partition("/")
            context = browser.new_context(
                viewport={"width": picture.width, "height": picture.height},
                color_scheme="dark" if picture.scheme == "dark" else "light",
                offline=True,
            )
            page = context.new_page()
            page.goto((roots[root] / file).as_uri())
            (Path(folder) / f"{picture.name}.png").write_bytes(shoot(page, picture))
            context.close()
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""A picture of a report's page, as the README shows it: `python examples/picture.py FOLDER PNG`."""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = "--no-sandbox --disable-gpu --disable-background-networking --no-first-run".split()


def main(folder: str, picture: str, width: int = 1280, height: int = 1180) -> None:
    """Open the page from its file with the network off and save what one screen shows."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="light", offline=True
        )
        page = context.new_page()
        page.goto((Path(folder).resolve() / "index.html").as_uri())
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])

"""`python -m reports FOLDER`: make a report's pages again from its records."""

import argparse
import sys
from collections.abc import Sequence

from reports.folder import read_timing, rebuild
from reports.records import ReportError
from reports.text import one_line, render_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the pages and print the summary; 2 and one line where that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Make the pages of a report again from its records.jsonl.",
    )
    parser.add_argument("folder", help="the report's folder")
    folder: str = parser.parse_args(arguments).folder
    try:
        summary = rebuild(folder)
        print(render_text(summary, read_timing(folder)), end="")
    except ReportError as error:
        print(f"error: {one_line(str(error), 600)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

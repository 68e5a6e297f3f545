"""`python -m reports FOLDER`: make the pages of a report, check or class from its records."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reports.check_page import rebuild_check, render_check_markdown
from reports.class_page import GRADES, rebuild_class
from reports.folder import is_check, read_timing, rebuild
from reports.grade_formats import class_text
from reports.records import ReportError
from reports.streams import NO_ROOM, flushed_streams, reader_gone, usable_streams
from reports.text import one_line, render_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the pages and print the summary; 2 and one line where that cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Make the pages of a report, a check or a class again from its records.",
    )
    parser.add_argument("folder", help="the folder of a report, a check or a class")
    usable_streams()
    folder: str = parser.parse_args(arguments).folder
    try:
        if (Path(folder) / GRADES).is_file():
            print("\n".join(class_text(rebuild_class(Path(folder)))))
        elif is_check(folder):
            print(render_check_markdown(rebuild_check(folder)), end="")
        else:
            print(render_text(rebuild(folder), read_timing(folder)), end="")
        flushed_streams()
    except BrokenPipeError:
        reader_gone()
    except (ReportError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_ROOM:
            raise
        print(f"error: {one_line(str(error), 600)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

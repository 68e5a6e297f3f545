"""Run the five lessons from the top, as CI does; each has a minute.

python examples/run_lessons.py             # all of them
python examples/run_lessons.py 003         # one
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

LESSONS = Path(__file__).parent / "lessons"
SECONDS = 60


def main(wanted: list[str]) -> int:
    """Execute notebooks; return 1 if a cell failed or a lesson took too long."""
    # The kernel is to see this checkout whether or not it is installed.
    root = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    failed = 0
    for path in sorted(LESSONS.glob("*.ipynb")):
        if wanted and not any(name in path.name for name in wanted):
            continue
        notebook = nbformat.read(path, as_version=4)
        began = time.monotonic()
        try:
            NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute()
            said = "ran"
        except (CellExecutionError, TimeoutError) as error:
            said, failed = f"failed\n{error}", 1
        taken = time.monotonic() - began
        if taken > SECONDS:
            said, failed = f"took longer than {SECONDS} s", 1
        print(f"{path.name}: {said} ({taken:.0f} s)", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

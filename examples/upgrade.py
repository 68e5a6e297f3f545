"""What an upgrade changed: the same problems by two interpreters, and the difference.

    python examples/upgrade.py OLD NEW FOLDER [PROBLEMS]

OLD and NEW are Pythons of two virtual environments in which this project is installed beside
different versions of JAX or PyTorch. FOLDER gets the difference as page, Markdown and text, and
each run's summary.json.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main(old: str, new: str, folder: str, problems: str = "3000") -> int:
    """Run the report twice, compare, and keep what is small."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    # What one version compiled must not be read by the other.
    with tempfile.TemporaryDirectory() as temporary:
        environment = {**os.environ, "MANUAL_BACKPROP_CACHE": ""}
        runs = {"before": old, "after": new}
        for name, python in runs.items():
            command = [python, "-m", "reference", "report", "--problems", problems, "--seed", "0"]
            done = subprocess.run([*command, "--out", f"{temporary}/{name}"], env=environment)
            if done.returncode > 1:
                return done.returncode
            shutil.copy(f"{temporary}/{name}/summary.json", target / f"{name}.json")
        before, after, out = (f"{temporary}/{name}" for name in (*runs, "diff"))
        command = [new, "-m", "reference", "diff", before, after, "--out", out]
        done = subprocess.run(command, env=environment)
        if done.returncode <= 1:
            for name in ("diff.html", "diff.md", "diff.txt"):
                shutil.copy(f"{out}/{name}", target / name)
        return done.returncode


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))

"""Checks a gradient that somebody else wrote: is it right, where not, and which mistake is it.

    from reference import check
    check("layers.py")                       # a file, in a process of its own
    check(Relu, like="relu")                 # an object at hand

The target is recognised by its form, run on drawn problems, and every entry it gives is judged
against the proven gradient, the hand-written one and the frameworks.
"""

import inspect
import shlex
import sys
import time
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from threading import Thread
from typing import Any

from manual_backprop.spec import InvalidInput
from reference.checks.part import check_part
from reference.checks.result import Part, Result
from reference.checks.targets.host import around, names_of
from reference.checks.targets.process import SECONDS, Apart, InProcess, Runner
from reference.checks.whole import check_general

PROBLEMS = 40


def check(
    target: Any,
    like: str | None = None,
    problems: int = PROBLEMS,
    seed: int = 0,
    report: str | Path | None = None,
    seconds: float = SECONDS,
) -> Result:
    """Check a gradient; `target` is a file, a module:name, or the object itself.

    A file or module runs in a process of its own, with `seconds` a problem; an object runs here.
    `report` names a folder that gets the page and a script that shows the difference.
    """
    if not _whole(problems) or problems < 1:
        raise InvalidInput(f"problems={problems!r}: expected a whole number, at least 1")
    if not _whole(seed) or not 0 <= seed < 2**63:
        raise InvalidInput(f"seed={seed!r}: expected a whole number from 0 to 2**63 - 1")
    if like is not None and not isinstance(like, str):
        raise InvalidInput(f"like={like!r}: expected the name of an operation")
    problems, seed = int(problems), int(seed)  # NumPy's own integers cannot be spelled as JSON
    if report is not None:
        from reference.checks.pages import refuse_folder

        refuse_folder(report)
    began = time.monotonic()
    runner: Runner
    if isinstance(target, str | Path):
        what = str(target)
        apart = Apart(what, like, seconds)
        # torch takes seconds to import: it does so while the target's own process starts.
        loading = Thread(target=_import_references, daemon=True)
        loading.start()
        try:
            apart.wait_open()
        except BaseException:
            apart.close()
            raise
        runner = apart
    else:
        what, names = _names(target)
        runner = InProcess(names, like, what)
    try:
        parts: list[Part] = []
        for index, part in enumerate(runner.parts):
            checker = check_general if part["kind"] == "general" else check_part
            parts.append(checker(runner, index, part, problems, seed))
    finally:
        runner.close()
    again = _again(target, like, problems, seed)
    seconds = time.monotonic() - began
    result = Result(what, seed, problems, tuple(parts), seconds, again=again)
    if report is not None:
        from reference.checks.pages import write_report

        result = write_report(result, Path(report))
    return result


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _again(target: Any, like: str | None, problems: int, seed: int) -> str:
    """Return the command that checks the target again: a file's or a module's."""
    if inspect.ismodule(target):
        if getattr(target, "__file__", None) is None or target.__name__ == "__main__":
            return ""
        target = target.__name__
    if not isinstance(target, str | Path):
        return ""
    command = ["manual-backprop", "check", str(target)]
    command += [] if like is None else ["--like", like]
    return shlex.join([*command, "--seed", str(seed), "--problems", str(problems)])


def _import_references() -> None:
    for module in ("torch", "reference.oracles.certified"):
        try:
            __import__(module)
        except ImportError:
            continue  # the oracle says itself why it is missing


def _names(target: Any) -> tuple[str, dict[str, Any]]:
    """Return the names to look through for an object: a module, a function, a class, a pair."""
    if inspect.ismodule(target):
        return target.__name__, names_of(target)
    if isinstance(target, Mapping):
        return "a mapping", {str(k): v for k, v in target.items()}
    if isinstance(target, tuple | list):
        named = {getattr(t, "__name__", type(t).__name__): t for t in target}
        what = " with ".join(named)
        if len(target) == 2 and not any(n.endswith(("_backward", "_grad")) for n in named):
            named = dict(zip(("forward", "backward"), target, strict=True))
        return what, named
    name = getattr(target, "__name__", type(target).__name__)
    home = sys.modules.get(getattr(target, "__module__", ""))
    return name, around(target, name, names_of(home) if home else {})

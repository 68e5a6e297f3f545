"""Checks a gradient that a user wrote: is it right, where is it not, and which mistake is it.

    from reference import check
    check("layers.py")                       # a file, in a separate process
    check(Relu, like="relu")                 # an object

The target's own forward runs on numbers that carry their derivative and its error bound, and every
gradient that comes back is compared with this derivative.
"""

import inspect
import shlex
import sys
import time
import types
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

import msgspec

from manual_backprop.operation import InvalidInput
from reference.checks.results import CheckedRun, CheckRequest, Event, Result
from reference.checks.results.result import Progress
from reference.workers import Died, Finished, Hung, Limits, Raised, Worker


def check(
    target: object,
    like: str | None = None,
    problems: int | None = None,
    seed: int = 0,
    report: str | Path | None = None,
    timeout: float | None = None,
    frameworks: tuple[str, ...] = (),
    allow_unchecked: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Check a gradient; return what was found.

    target: a file (FILE.py or FILE.ipynb, with or without :name), module:name, or the object
        itself. A file or module runs in a separate process; an object runs here.
    like: the name of the operation that the forward should compute; a remark says if it computes
        another one.
    problems: how many are drawn for each gradient; None: 20, or fewer (at least 4) for code that
        makes many numbers.
    seed: the seed of the random problems.
    report: the folder for the page.
    timeout: processor time, in seconds, that a file or module may use for one problem; None: 10.
        It has no effect on an object.
    frameworks: "torch", "jax": add remarks with their answers.
    allow_unchecked: True: a gradient that was not checked does not make the exit code 2.
    strict: True: a fragile gradient makes the exit code 1.
    progress: is called with the name of the part that is being checked.

    Raises InvalidInput for a bad argument and for a target that cannot be loaded.
    """
    request = _request(target, like, problems, seed, frameworks)
    if timeout is not None and not timeout > 0:
        raise InvalidInput(f"timeout={timeout!r}: expected a number of seconds above 0")
    if report is not None:
        from reference.checks.results.pages import refuse_folder

        refuse_folder(report)
    began = time.monotonic()
    gathered = CheckedRun(progress or (lambda name: None))
    if isinstance(target, str | Path):
        run_apart(request, gathered, timeout)
    else:
        _run_here(target, request, gathered)
    if gathered.refused:
        raise InvalidInput(gathered.refused)
    result = gathered.result(
        request,
        seconds=time.monotonic() - began,
        again=_command_to_repeat(target, request),
        allow_unchecked=allow_unchecked,
        strict=strict,
    )
    if report is not None:
        from reference.checks.results.pages import write_report

        result = write_report(result, Path(report))
    return result


def _request(
    target: object, like: str | None, problems: int | None, seed: int, frameworks: tuple[str, ...]
) -> CheckRequest:
    if problems is not None and (not _whole(problems) or problems < 1):
        raise InvalidInput(f"problems={problems!r}: expected a whole number, at least 1")
    if not _whole(seed) or not 0 <= seed < 2**63:
        raise InvalidInput(f"seed={seed!r}: expected a whole number from 0 to 2**63 - 1")
    if like is not None and not isinstance(like, str):
        raise InvalidInput(f"like={like!r}: expected the name of an operation")
    unknown = [f for f in frameworks if f not in ("torch", "jax")]
    if unknown:
        raise InvalidInput(f"frameworks={unknown[0]!r}: expected torch or jax")
    what = str(target) if isinstance(target, str | Path) else _names(target)[0]
    # NumPy's own integers cannot be spelled as JSON
    count = int(problems) if problems is not None else None
    return CheckRequest(what, like, count, int(seed), tuple(frameworks))


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _command_to_repeat(target: object, request: CheckRequest) -> str:
    """Return the command that checks the target again: a file's or a module's."""
    if inspect.ismodule(target):
        if getattr(target, "__file__", None) is None or target.__name__ == "__main__":
            return ""
        target = target.__name__
    if not isinstance(target, str | Path):
        return ""
    command = ["manual-backprop", "check", str(target)]
    command += [] if request.like is None else ["--like", request.like]
    command += ["--seed", str(request.seed)]
    command += [] if request.problems is None else ["--problems", str(request.problems)]
    return shlex.join(command)


def _run_here(target: object, request: CheckRequest, gathered: CheckedRun) -> None:
    from reference.checks import session
    from reference.checks.code import source

    what, names = _names(target)
    loaded = source.from_objects(names, what)
    if inspect.ismodule(target):
        loaded = source.from_module(target, what)
    session.run(loaded, request, gathered.take)


def _names(target: object) -> tuple[str, dict[str, object]]:
    """Return what an object is called, and the names to look through for it.

    An object: a module, a function, a class, a pair, a mapping of names.
    """
    if inspect.ismodule(target):
        return target.__name__, {}
    if isinstance(target, Mapping):
        return "a mapping", {str(k): v for k, v in target.items() if not str(k).startswith("__")}
    if isinstance(target, tuple | list):
        named = {getattr(t, "__name__", type(t).__name__): t for t in target}
        what = " with ".join(named)
        if len(target) == 2 and all(isinstance(t, types.FunctionType) for t in target):
            named = dict(zip(("forward", "backward"), target, strict=True))
        return what, named
    name = getattr(target, "__name__", type(target).__name__)
    if not (inspect.isclass(target) or inspect.isroutine(target)):
        target = type(target) if type(target).__name__ != "custom_vjp" else target
        name = getattr(target, "__name__", name)
    home = sys.modules.get(getattr(target, "__module__", ""))
    return name, {name: target, **_beside(target, name, home)}


def _beside(target: object, name: str, home: types.ModuleType | None) -> dict[str, object]:
    """Return the functions of the module whose names have the same stem: relu, relu_backward.

    One of them may be the forward or the backward that belongs to the target.
    """
    from reference.checks.code import stem_of

    if home is None or inspect.isclass(target):
        return {}
    return {
        k: v
        for k, v in vars(home).items()
        if isinstance(v, types.FunctionType) and k != name and stem_of(k) == stem_of(name)
    }


# -- in a separate process: a target that hangs or crashes ends this process, not the check --------

SECONDS = 10.0
"""Processor time that a target may use for one problem, if `timeout` is None."""

SLEEP = 30.0
"""Seconds of the clock that a target may take for one problem, because waiting uses no processor
time. It is 3 · `timeout` if that is more."""

MAX_RESTARTS = 20
"""After so many parts that hung or crashed, the check stops; until then each gets a new process."""


def run_apart(request: CheckRequest, gathered: CheckedRun, timeout: float | None) -> None:
    """Check a target in a separate process.

    A part that hangs or crashes is recorded, and the other parts are checked in a new process.
    """
    seconds = SECONDS if timeout is None else timeout
    limits = Limits(seconds, max(SLEEP, 3 * seconds))
    path, colon, name = request.target.partition(":")
    if Path(path).is_file():  # the process works in an empty folder
        request = msgspec.structs.replace(request, target=f"{Path(path).resolve()}{colon}{name}")
    skip: list[int] = []
    worker = Worker("reference.checks.session:serve")
    try:
        for _ in range(MAX_RESTARTS):
            message = msgspec.structs.replace(request, skip=tuple(skip))
            failed = _once(worker, message, gathered, limits)
            if failed is None:
                return
            skip.append(failed)
        gathered.stopped(skip[-1], MAX_RESTARTS)
    finally:
        worker.close()


def _once(
    worker: Worker, request: CheckRequest, gathered: CheckedRun, limits: Limits
) -> int | None:
    """Check all parts but those of `request.skip`; return the number of one that hung or crashed.

    None: all of them were checked.
    """
    for event in worker.run(request, Event, limits=lambda last: limits):  # type: ignore[arg-type]
        match event:
            case Hung():
                return gathered.fail("hung", event.reason)
            case Died() | Raised():
                text = event.reason if isinstance(event, Died) else f"{event.kind}: {event.message}"
                return gathered.fail("crashed", text)
            case Finished():
                return None
            case _:
                gathered.take(event)
    return None

"""The check inside the target's process: loads it, reads it, judges it, part by part.

Every part is announced before it runs, so that the parent process knows which one hung.
"""

import os
import traceback
from collections.abc import Callable
from functools import partial

from manual_backprop.operation import InvalidInput
from reference.checks.code import Target, nothing_found, raised_text, source, units_of
from reference.checks.code.argument_spec import specs_of
from reference.checks.judging import Subject
from reference.checks.parts import accept_mean_taken_in_layers, check_unit
from reference.checks.results import (
    CheckRequest,
    Event,
    InternalError,
    PartFinished,
    PartStarted,
    Refused,
    TargetLoaded,
    Tried,
)
from reference.checks.running import Library, experiment
from reference.checks.running.surroundings import generators_kept
from reports.checked import Part

Emit = Callable[[Event], None]


def serve(request: CheckRequest, emit: Emit) -> None:
    """Load a target and check it part by part; every finding is emitted at once."""
    library = Library()
    try:
        target = source.load(request.target)
    except InvalidInput as error:
        emit(Refused(str(error)))
        return
    run(target, request, emit, library)


@generators_kept()
def run(
    target: Target,
    request: CheckRequest,
    emit: Emit,
    library: Library | None = None,
    watch: Callable[[int, Subject], None] = lambda index, subject: None,
) -> None:
    """Check a loaded target part by part.

    library: what NumPy was before it was loaded. watch: a function that is called with the number
    of a part and its subject, before it is judged.
    """
    library = library or Library()
    try:
        _refuse_another_library(library, target)
        given = target.names.get("shapes")
        shapes = specs_of({} if given is None else given, target.what)
        like = request.like if request.like is not None else target.names.get("like")
        if like is not None and not isinstance(like, str):
            raise InvalidInput(f"like={like!r}: expected the name of an operation")
        units = units_of(target)
    except InvalidInput as error:
        emit(Refused(str(error)))
        return
    experiment.watch(lambda problem, certified: emit(Tried(problem, certified)))
    emit(TargetLoaded(tuple(target.remarks)))
    parts: dict[int, Part] = {}
    complete = not request.skip
    for index, unit in enumerate(units):
        if index in request.skip:
            continue
        emit(PartStarted(index, unit.name, len(units)))
        try:
            part = check_unit(unit, target, request, shapes, like, partial(watch, index))
            _refuse_another_library(library, target)
        except InvalidInput as error:
            emit(Refused(str(error)))
            return
        except Exception as error:
            if library.replaced():  # then it is not ours
                emit(Refused(_another_library(library, target)))
                return
            if os.environ.get("MANUAL_BACKPROP_DEBUG"):
                traceback.print_exc()
            emit(InternalError(index, unit.name, _place(error)))
            complete = False
            continue
        if part is None:
            continue
        parts[index] = part
        emit(PartFinished(index, part))
    if complete and not parts:
        emit(TargetLoaded((*target.remarks, nothing_found(target))))
    for index, part in accept_mean_taken_in_layers(parts).items():
        emit(PartFinished(index, part))


def _refuse_another_library(library: Library, target: Target) -> None:
    """Raise InvalidInput where a target has replaced functions that its judge needs too."""
    if library.replaced():
        raise InvalidInput(_another_library(library, target))


def _another_library(library: Library, target: Target) -> str:
    names = ", ".join(library.replaced()[:3])
    return (
        f"TARGET={target.what!r}: it replaces {names}, which the judge also uses: expected another "
        "name"
    )


def _place(error: BaseException) -> str:
    """Return an error of ours with the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    where = f"{os.path.basename(last.filename)}, line {last.lineno}"
    return f"{raised_text(error)} ({where})"

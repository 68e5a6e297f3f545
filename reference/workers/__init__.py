"""Worker processes: code that may hang, crash or fork runs in one of these, apart from us.

    worker = Worker("package.module:function")
    for event in worker.run(request, Event, limits=lambda last: Limits(cpu_seconds=10)):
        match event:
            case Event(): ...                # what the function emitted
            case Finished(): ...             # it returned
            case Raised() | Hung() | Died(): ...  # how it failed; the next `run` works again

A worker depends on nothing of the project, so that the campaign and `check` can both use it.
"""

from reference.workers.confinement import Confinement, Measures
from reference.workers.messages import Died, Finished, Hung, Raised
from reference.workers.pool import Pool
from reference.workers.timeouts import Limits, MeasuredTimes
from reference.workers.worker import ONE_THREAD, Stopped, Worker

__all__ = [
    "ONE_THREAD",
    "Confinement",
    "Died",
    "Finished",
    "Hung",
    "Limits",
    "MeasuredTimes",
    "Measures",
    "Pool",
    "Raised",
    "Stopped",
    "Worker",
]

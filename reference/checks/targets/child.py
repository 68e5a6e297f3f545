"""The process that a target runs in: it loads, recognises and runs, one request after another.

Whatever the target does to this process (hang, exit, fault) the checker sees from outside.
"""

import os
import resource
import sys
from typing import Any

from manual_backprop.spec import InvalidInput
from reference.checks.targets import wire

_MEMORY = 16 << 30  # bytes of address space: torch and jax map much and use little


def main() -> None:
    """Serve requests on the first two file descriptors, which the target does not get to see."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # What the target reads and prints goes elsewhere; C code that prints does not break the wire.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(null, 2)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    host: Any = None
    while True:
        try:
            message, arrays = wire.read(requests)
        except EOFError:
            return
        try:
            facts: dict[str, Any] = {}
            found: dict[str, Any] = {}
            match message["do"]:
                case "open":
                    host, facts = _open(message)
                case "run":
                    problem = wire.read_problem(message["network"], arrays)
                    facts, found = host.run(message["index"], problem, arrays["cotangent"])
                case "draw":
                    facts, found = host.draw(message["index"], message["seed"], message["at"])
                case "run_general":
                    facts, found = host.run_general(
                        message["index"], arrays, message["seed"], message["frameworks"]
                    )
        except InvalidInput as error:
            facts, found = {"invalid": str(error)}, {}
        wire.write(answers, facts, found)


def _open(message: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from reference.checks.targets.host import Host, _guarded, load

    facts: dict[str, Any] = {}
    kept: list[InvalidInput] = []

    def work() -> Host | None:
        try:
            return Host(*_with_like(load(message["target"]), message["like"]))
        except InvalidInput as error:
            kept.append(error)
            return None

    host = _guarded(facts, work)
    if kept:
        raise kept[0]
    if host is not None:
        facts["found"] = [f.spell() for f in host.found]
    return host, facts


def _with_like(loaded: tuple[dict[str, Any], str], like: str | None) -> tuple[Any, Any, str]:
    return loaded[0], like, loaded[1]


if __name__ == "__main__":
    sys.path[:] = [p for p in sys.path if p]  # the working folder is searched only for module:name
    main()

"""Where compiled JAX programs are kept between runs, so that a machine compiles them once.

An executable read from the cache is run, so the folder belongs to the user alone. It is named after
the processor, because an executable is made for one. JAX_COMPILATION_CACHE_DIR, or the same
in `jax.config`, has priority, and an empty MANUAL_BACKPROP_CACHE switches the cache off.
"""

import hashlib
import importlib.metadata
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from reference.user_cache import cache_folder, usable

_MISREADING = ("0.6.0",)
"""Versions of jaxlib whose cached programs return zeros; 0.6.1 is right."""
_KEPT = 256  # entries; one is 0.05 to 1 MB, and every change of an operation makes new ones
_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def folder() -> Path | None:
    """Return the folder for this processor's programs, or None when there is to be none."""
    base = cache_folder()
    if base is None:
        return None
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
        lines = [x for x in cpu.splitlines() if x.startswith(("model name", "flags", "Features"))]
    except OSError:
        lines = [platform.processor()]
    key = hashlib.sha256("\n".join([platform.machine(), *lines]).encode()).hexdigest()[:16]
    return base / f"jax-{key}"


@contextmanager
def persistent(lock: str = "lock") -> Iterator[None]:
    """Inside this context programs are read from the cache, or compiled and written to it.

    One process at a time holds a lock: JAX writes an entry in place, so a reader could find half of
    one, and workers that start together would all compile the same program. Locks of different
    names must be for different programs. Without a usable folder there is no cache. JAX's settings
    are restored afterwards.
    """
    config: Any = jax.config
    place = folder()
    misread = importlib.metadata.version("jaxlib") in _MISREADING
    if place is None or config.jax_compilation_cache_dir or misread or not usable(place):
        yield
        return
    settings = {**_SETTINGS, "jax_compilation_cache_dir": str(place)}
    before = {name: getattr(config, name) for name in settings}
    with _locked(place / lock), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="Error (reading|writing) persistent")
        for name, value in settings.items():
            config.update(name, value)
        compilation_cache.reset_cache()
        try:
            yield
        finally:
            for name, value in before.items():
                config.update(name, value)
            compilation_cache.reset_cache()
            # JAX never replaces an entry, so one that a killed writer left torn would stay.
            _prune(place, 0 if any("Error reading" in str(w.message) for w in caught) else _KEPT)
    for warning in caught:
        if "persistent compilation cache" not in str(warning.message):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def _prune(place: Path, kept: int) -> None:
    """Delete all but the newest entries."""
    entries: list[tuple[float, Path]] = []
    for entry in place.glob("*-cache"):
        with suppress(FileNotFoundError):  # who holds another lock prunes, too
            entries.append((entry.stat().st_mtime, entry))
    for _, entry in sorted(entries, reverse=True)[kept:]:
        entry.unlink(missing_ok=True)
        entry.with_name(entry.name.removesuffix("-cache") + "-atime").unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when the process dies."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may compile the same program, no more
        yield
        return
    try:
        file = path.open("w")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

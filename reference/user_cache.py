"""The user's folder for what can be made again: compiled programs, sections of a report."""

import os
import platform
from pathlib import Path


def cache_folder() -> Path | None:
    """Return the folder, or None when MANUAL_BACKPROP_CACHE is set and empty: then there is none.

    MANUAL_BACKPROP_CACHE names another one.
    """
    given = os.environ.get("MANUAL_BACKPROP_CACHE")
    if given == "":
        return None
    return Path(given) if given else _user_cache() / "manual-backprop"


def usable(place: Path) -> bool:
    """Make a folder for the user alone, and say whether it is: what is read there is trusted."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Where ids mean nothing (Windows) the user's profile folder is private by itself.
        return not hasattr(os, "getuid") or place.stat().st_uid == os.getuid()
    except OSError:
        return False


def _user_cache() -> Path:
    """Return the platform's folder for caches."""
    match platform.system():
        case "Windows":
            return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
        case "Darwin":
            return Path.home() / "Library" / "Caches"
        case _:
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")

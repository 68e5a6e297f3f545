"""Finds the submissions of a class: files, notebooks, folders, zip files; keeps what was graded.

Nothing is run here. A killed run can be resumed, because every graded submission is kept.
"""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from manual_backprop.operation import InvalidInput
from reports.checked import plain
from reports.class_page import KEPT
from reports.graded import Graded

SUFFIXES = (".py", ".ipynb")
_IGNORED = ("__init__.py", "setup.py", "conftest.py")
MAX_FILES = 200
"""Files of one submission."""
MAX_BYTES = 8 << 20
"""Bytes of all files of one submission."""
MAX_MEMBERS = 5_000
"""Files of a whole class in one zip file."""


@dataclass(frozen=True)
class Submission:
    """What one student handed in: the file to grade, and what lies beside it."""

    student: str
    file: str
    files: dict[str, bytes]
    refused: str = ""
    """Why nothing of it can be graded."""


def find_submissions(places: Sequence[str | Path]) -> list[Submission]:
    """Return the submissions that files, folders and zip files hold, by student.

    A folder with folders in it is a class, each folder a student. A folder of files alone is a
    class with a file for each student. A zip file is read as the folder that it holds.
    Raises InvalidInput for a place that does not exist or holds nothing.
    """
    found: list[Submission] = []
    for place in map(Path, places):
        if place.is_dir():
            found += _of_files(_listed(place))
        elif place.suffix == ".zip" and place.is_file():
            found += _of_zip(place)
        elif place.suffix in SUFFIXES and place.is_file():
            found.append(Submission(place.stem, place.name, {place.name: place.read_bytes()}))
        else:
            expected = "a .py, .ipynb or .zip file or a folder"
            raise InvalidInput(f"SUBMISSIONS={str(place)!r}: expected {expected} that exists")
    if not found:
        raise InvalidInput(f"SUBMISSIONS={str(places[0])!r}: no .py or .ipynb file in it")
    return _numbered(sorted(found, key=lambda s: (s.student, s.file)))


def _numbered(found: list[Submission]) -> list[Submission]:
    """Give two submissions of one name different names."""
    seen: dict[str, int] = {}
    named = []
    for one in found:
        seen[one.student] = count = seen.get(one.student, 0) + 1
        name = one.student if count == 1 else f"{one.student} ({count})"
        named.append(Submission(name, one.file, one.files, one.refused))
    return named


def _listed(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their paths in it; links are not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_symlink() or not path.is_file() or _hidden(inside.parts):
            continue
        size = path.stat().st_size
        found[inside.as_posix()] = path.read_bytes() if size <= MAX_BYTES else b""
    return found


def _hidden(parts: Sequence[str]) -> bool:
    return any(p.startswith((".", "__pycache__", "__MACOSX")) for p in parts)


def _of_zip(place: Path) -> Iterator[Submission]:
    """Yield the submissions of a zip file; nothing is unpacked to the disk."""
    try:
        with zipfile.ZipFile(place) as archive:
            files = dict(_members(archive, str(place)))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise InvalidInput(f"SUBMISSIONS={str(place)!r} is not a zip file: {error}") from None
    yield from _of_files(files)


def _unpacked(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield files, with a zip file among them as the folder that it holds."""
    for path, content in files.items():
        if not path.endswith(".zip"):
            yield path, content
            continue
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                inside = _without_wrapper(dict(_members(archive, path)))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError):
            inside = {"unreadable": b""}
        yield from ((f"{path.removesuffix('.zip')}/{name}", c) for name, c in inside.items())


def _members(archive: zipfile.ZipFile, place: str) -> Iterator[tuple[str, bytes]]:
    members = [m for m in archive.infolist() if not m.is_dir()]
    if len(members) > MAX_MEMBERS:
        raise InvalidInput(
            f"SUBMISSIONS={place!r} holds {len(members)} files; expected at most {MAX_MEMBERS}"
        )
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        unsafe = path.is_absolute() or ".." in path.parts or ":" in path.parts[0]
        if unsafe or stat.S_ISLNK(member.external_attr >> 16) or _hidden(path.parts):
            continue
        # What a header says of the size is not believed: no more than the limit is unpacked.
        with archive.open(member) as file:
            content = file.read(MAX_BYTES + 1)
        yield path.as_posix(), content if len(content) <= MAX_BYTES else b""


def _of_files(files: dict[str, bytes]) -> Iterator[Submission]:
    """Yield the submissions of a folder's files."""
    files = _without_wrapper(dict(_unpacked(files)))
    groups: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        head, _, rest = path.partition("/")
        groups.setdefault(head if rest else "", {})[rest or path] = content
    alone = groups.pop("", {})
    if not groups:
        for path, content in alone.items():
            if path.endswith(SUFFIXES) and path not in _IGNORED:
                yield Submission(PurePosixPath(path).stem, path, {path: content})
        return
    for student, own in groups.items():
        yield _of_student(student, own)


def _without_wrapper(files: dict[str, bytes]) -> dict[str, bytes]:
    """Take off a folder that holds all the others: class.zip with class/ in it."""
    while files:
        heads = {p.partition("/")[0] for p in files}
        deeper = all(p.count("/") >= 2 for p in files)
        if len(heads) != 1 or not deeper:
            return files
        files = {p.partition("/")[2]: c for p, c in files.items()}
    return files


def _of_student(student: str, files: dict[str, bytes]) -> Submission:
    code = [p for p in files if p.endswith(SUFFIXES) and PurePosixPath(p).name not in _IGNORED]
    if not code:
        return Submission(student, "", {}, "it holds no .py or .ipynb file")
    if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES:
        return Submission(
            student, code[0], {}, f"it is larger than {MAX_FILES} files or {MAX_BYTES >> 20} MB"
        )
    return Submission(student, _main_file(code, files), files)


def _main_file(code: Sequence[str], files: dict[str, bytes]) -> str:
    """Return the one file of several that has the most of gradients in it."""

    def weight(path: str) -> tuple[int, int]:
        text = files[path].decode("utf-8", "replace").lower()
        return sum(text.count(word) for word in ("backward", "grad", "prime", "def d")), len(text)

    return max(sorted(code), key=weight)


class GradeStore:
    """A folder with one file for each graded submission, or none."""

    def __init__(self, folder: Path | None, fingerprint: bytes) -> None:
        """Begin with what is there.

        folder: the run's; None keeps nothing. fingerprint: what all results depend on.
        """
        self._folder = folder / KEPT if folder is not None else None
        self._fingerprint = fingerprint
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def key(self, one: Submission) -> str:
        """Return the name under which a submission is kept: by all that its result depends on."""
        digest = hashlib.sha256(self._fingerprint)
        for text in (one.student, one.file, one.refused, *sorted(one.files)):
            digest.update(len(text).to_bytes(8, "big") + text.encode("utf-8", "surrogatepass"))
        for name in sorted(one.files):
            digest.update(hashlib.sha256(one.files[name]).digest())
        return digest.hexdigest()[:32]

    def read(self, key: str) -> Graded | None:
        """Return a submission that was graded before; None where it was not, or not to the end."""
        if self._folder is None:
            return None
        try:
            content = (self._folder / f"{key}.json").read_bytes()
            return msgspec.convert(msgspec.json.decode(content), Graded, strict=False)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def write(self, key: str, graded: Graded) -> Graded:
        """Keep a result; return it as it will be read again."""
        text = json.dumps(plain(graded), sort_keys=True)
        if self._folder is not None:
            place = self._folder / f"{key}.json"
            part = place.with_suffix(f".{os.getpid()}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(place)  # at once: a killed run leaves no half of it
        return msgspec.convert(json.loads(text), Graded, strict=False)

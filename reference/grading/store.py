"""Keeps every graded submission, so that a killed run can be resumed."""

import hashlib
import json
import os
from pathlib import Path

import msgspec

from reference.grading.submissions import Submission
from reports.checked import plain
from reports.class_page import KEPT
from reports.graded import Graded


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

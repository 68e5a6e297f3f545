"""What a report holds beside its run: the ledger of conventions, and the audit of the articles.

Neither depends on the seed; each is made in a worker while the networks are checked.
"""

from collections.abc import Callable

from reports.records import Record


def conventions() -> list[Record]:
    """Return the ledger of the installed framework versions, where one is committed."""
    from reference import ledger

    file = ledger.path()
    return [*ledger.read(file)] if file.is_file() else []


def articles() -> list[Record]:
    """Return every claim of the five articles, decided."""
    from reference.articles import audit

    return [*audit()]


SECTIONS: dict[str, Callable[[], list[Record]]] = {
    "conventions": conventions,
    "articles": articles,
}


def section(name: str) -> list[Record]:
    """Make one section; a worker calls this."""
    return SECTIONS[name]()

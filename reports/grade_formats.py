"""Grades in the forms that other systems read: Gradescope, Otter, Autolab, JUnit, CSV, text.

What goes to a student is made from a `GradeView`; JUnit, CSV and the table are a teacher's.
"""

import csv
import io
import json
import re
from xml.etree import ElementTree

from reports.graded import Class, Graded, GradeView, SeenItem, points

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def gradescope(view: GradeView) -> dict[str, object]:
    """Return a Gradescope results.json: a test for each mark, in the fields of its specification.

    https://gradescope-autograders.readthedocs.io/en/latest/specs/
    """
    tests = []
    for number, item in enumerate(view.items, 1):
        for place, mark in enumerate(item.marks, 1):
            tests.append(
                {
                    "name": f"{item.heading}: {mark.what}",
                    "number": f"{number}.{place}",
                    "score": mark.earned,
                    "max_score": mark.possible,
                    "status": "passed" if mark.passed else "failed",
                    "output": "\n".join([mark.text, *(item.lines() if place == 1 else [])]),
                    "output_format": "text",
                    "visibility": "visible",
                }
            )
    return {
        "score": view.earned,
        "output": "\n".join(view.remarks),
        "output_format": "text",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def otter(view: GradeView) -> dict[str, object]:
    """Return what Otter reads as `GradingResults.from_ottr_json`: a test file for each function."""
    return {
        "test_file_results": [
            {
                "filename": f"{item.heading}.py",
                "points": [m.possible for m in item.marks],
                "test_case_results": [
                    {
                        "passed": mark.passed,
                        "error": None if mark.passed else mark.text,
                        "test_case": {
                            "name": f"{item.heading}: {mark.what}",
                            "code": "",
                            "points": mark.possible,
                            "hidden": False,
                            "success_message": mark.text,
                            "failure_message": "\n".join([mark.text, *item.lines()]),
                        },
                    }
                    for mark in item.marks
                ],
            }
            for item in view.items
        ]
    }


def autolab(view: GradeView) -> str:
    """Return what an Autolab grader prints: text, and a last line of JSON with the scores."""
    result = {
        "scores": {item.heading: item.earned for item in view.items},
        "scoreboard": [*(item.earned for item in view.items), view.earned],
    }
    return "\n".join([*student_text(view), json.dumps(result, ensure_ascii=False)]) + "\n"


def student_text(view: GradeView) -> list[str]:
    """Return a grade as lines for its student."""
    lines = [f"{view.student}: {points(view.earned)} of {points(view.possible)}", *view.remarks]
    for item in view.items:
        lines += _item_text(item)
    return lines


def _item_text(item: SeenItem) -> list[str]:
    lines = [f"{item.heading}: {points(item.earned)} of {points(item.possible)}"]
    for mark in item.marks:
        got = f"{points(mark.earned)}/{points(mark.possible)}"
        lines.append(f"  {mark.sign} {mark.what} {got}: {mark.text}")
    return lines + [f"  {line}" for line in item.lines()]


def junit(graded: Class) -> str:
    """Return JUnit XML, as pytest writes it: a suite for each student, a case for each mark."""
    root = ElementTree.Element("testsuites", name=_xml(graded.title or "grade"))
    for one in graded.graded:
        marks = [(item, mark) for item in one.items for mark in item.marks]
        failed = [m for _, m in marks if m.earned < m.possible]
        skipped = [m for m in failed if m.state == "empty"]
        suite = ElementTree.SubElement(
            root, "testsuite", name=_xml(one.student), tests=str(len(marks)), errors="0",
            failures=str(len(failed) - len(skipped)), skipped=str(len(skipped)), time="0",
        )  # fmt: skip
        for item, mark in marks:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_xml(f"{one.student}.{item.heading}"),
                name=_xml(mark.what), time="0",
            )  # fmt: skip
            if mark in skipped:
                ElementTree.SubElement(case, "skipped", message=_xml(mark.text), type=mark.state)
            elif mark.earned < mark.possible:
                got = f"{points(mark.earned)} of {points(mark.possible)}: {mark.text}"
                ElementTree.SubElement(case, "failure", message=_xml(got)).text = _xml(mark.text)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return _NOT_XML.sub("?", text)


def table(graded: Class) -> str:
    """Return the class as CSV: a row for each student, a column for each mark."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    first = graded.graded[0].items if graded.graded else ()
    columns = [f"{item.heading}: {mark.what}" for item in first for mark in item.marks]
    writer.writerow(["student", "file", "points", "possible", "state", *columns, "mistakes"])
    for one in graded.graded:
        marks = [points(m.earned) for item in one.items for m in item.marks]
        row = [one.student, one.file, points(one.earned), points(one.possible), one.state]
        writer.writerow([_cell(c) for c in [*row, *marks, "; ".join(one.mistakes)]])
    return out.getvalue()


def _cell(text: str) -> str:
    """Return a cell that a spreadsheet does not take for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def class_text(graded: Class) -> list[str]:
    """Return the class as lines of a terminal."""
    width = max((len(g.student) for g in graded.graded), default=7)
    possible = points(graded.possible)
    lines = [
        f"{g.student:<{width}}  {points(g.earned):>5} / {possible}  {_about(g)}"
        for g in graded.graded
    ]
    total = sum(g.earned for g in graded.graded)
    count = len(graded.graded)
    mean = f"{total / count:.1f}" if count else "0"
    plural = "s" * (count != 1)
    return [*lines, f"{count} submission{plural}; on average {mean} of {possible} points"]


def _about(graded: Graded) -> str:
    notices = [n for i in graded.items for n in i.notices if n.grave]
    notices += [n for n in graded.notices if n.grave]
    about = [graded.state, *graded.mistakes[:4]]
    about += [n.text for n in notices[:2]] + ([graded.refused] if graded.refused else [])
    return "; ".join(about)

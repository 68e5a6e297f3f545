"""Without --whole every test runs, of many cases every third one, of hundreds every ninth."""

from everythird import HUNDREDS, MANY, every_third


def test_every_test_runs_and_of_many_cases_every_third() -> None:
    alone = ["a.py::test_x", "a.py::test_y[one]", "b.py::test_x"]
    few = [f"a.py::test_few[{k}]" for k in range(MANY)]
    many = [f"a.py::test_many[{k}-[x]]" for k in range(MANY + 1)]
    assert list(every_third([*alone[:2], *few, *many, alone[2]])) == [
        *alone[:2], *few, many[0], many[3], many[6], alone[2]
    ]  # fmt: skip


def test_of_hundreds_of_cases_every_ninth_runs() -> None:
    cases = [f"a.py::test_hundreds[{k}]" for k in range(HUNDREDS + 1)]
    assert list(every_third(cases)) == cases[::9]
    assert list(every_third(cases[1:])) == cases[1::3]


def test_one_case_that_is_asked_for_runs() -> None:
    assert list(every_third(["a.py::test_many[4]"])) == ["a.py::test_many[4]"]

"""The page of a check: it repeats the terminal's text, and shows where and why."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from examplecheck import EVERY, RIGHT, SOURCE, UNCHECKED, WRONG, checked, example_checks
from hostilerecords import HOSTILE, poisoned

from reports.__main__ import main
from reports.check_page import (
    entries,
    marked_digits,
    own_lines,
    render_check,
    render_check_badge,
    render_check_markdown,
    render_index,
    short_names,
    write_checks,
)
from reports.checked import Checked, Numbers, Part, headline_of, plain, read_checked, worst_of
from reports.errorplot import bars, entry, heat
from reports.formula import formula, to_latex
from reports.records import ReportError

STATE = {0: "right", 1: "wrong", 2: "open", 3: "open", 4: "open"}
MARK = {0: "✓", 1: "✕", 2: "?", 3: "?", 4: "?"}


@pytest.mark.parametrize("name", EVERY)
def test_no_page_says_the_opposite_of_the_terminal(name: str) -> None:
    one = EVERY[name]
    page, badge, text = render_check(one), render_check_badge([one]), render_check_markdown([one])
    assert f'<h1 id="headline">{one.headline}</h1>' in page
    assert f"Exit code {one.exit_code}" in page and f"Exit code {one.exit_code}" in text
    assert f'<div class="state {STATE[one.exit_code]}"' in page
    title = {"right": "Right", "wrong": "Wrong", "open": "Open"}[STATE[one.exit_code]]
    assert f"<title>{title}: homework/layers.py</title>" in page
    assert f"gradients: {MARK[one.exit_code]} " in badge
    assert text.startswith(f"## {MARK[one.exit_code]} ")
    assert "manual-backprop check layers.py --seed 0" in text
    if one.exit_code:
        assert "✓" not in badge


def test_a_badge_counts(tmp_path: Path) -> None:
    assert "✕ 2 of 4 wrong" in render_check_badge([EVERY["mixed"]])
    assert "✓ 1 right, 1 not checked" in render_check_badge([EVERY["allowed"]])
    assert "? 1 of 2 checked" in render_check_badge([EVERY["open"]])
    assert "? nothing checked" in render_check_badge([EVERY["empty"]])
    assert "✕ fragile" in render_check_badge([EVERY["strict"]])


def test_the_index_takes_the_worst_code_and_counts_them_all() -> None:
    checks = example_checks()
    page = render_index(checks)
    assert '<div class="state wrong"' in page and "Exit code 1" in page
    assert f">{headline_of(checks)}</h1>" in page
    assert headline_of(checks) == (
        "12 targets: 4 not right, 1 hung, 1 crashed, 4 not fully checked, 2 right"
    )
    right = [c for c in checks if c.exit_code == 0]
    assert headline_of(right) == "all 2 targets are right"
    assert '<div class="state right"' in render_index(right)
    for one in checks:
        assert one.headline in page
    assert worst_of([0, 2, 4, 3]) == 3 and worst_of([]) == 0 and worst_of([2, 1, 3]) == 1


def test_names_in_a_list_leave_out_the_folder_that_all_share() -> None:
    assert list(short_names(example_checks()).values())[:2] == ["right.py", "wrong.py"]
    assert short_names([EVERY["right"]]) == {"homework/layers.py": "homework/layers.py"}


def test_a_wrong_part_shows_lines_formulas_numbers_picture_and_script() -> None:
    page = render_check(EVERY["wrong"])
    assert "The square is missing" in page
    assert page.count("<math") >= 3 and "<msup>" in page
    assert '<span class="line marked first"><span class="no">16</span>    dz = dh * (1 - h)' in page
    assert "0.123<mark>45</mark>" in page and "0.123<mark>78</mark>" in page
    assert 'class="heat"' in page and 'class="pairs"' in page
    assert "print(&#39;it differs&#39;)" in page
    assert "your backward returns no gradient of x (allowed)" in page
    assert "The derivation: tanh" in page
    assert "FRAGILE" in render_check(EVERY["right"])
    for part in ("matrix", "articles", "Articles", "cost"):
        assert f'id="{part}"' not in page


def test_an_unchecked_part_has_the_wrapper_to_paste() -> None:
    page = render_check(EVERY["unchecked"])
    assert "no arguments were found that it runs with" in page
    assert "shapes = {&#34;x&#34;: &#34;N D&#34;}" in page


def test_it_fetches_nothing(tmp_path: Path) -> None:
    for page in (*(render_check(one) for one in EVERY.values()), render_index(example_checks())):
        assert not re.search(r'(?:src|href)="(?!#|data:|index\.html|check_\w+\.html)', page)
        assert "default-src &#39;none&#39;" in page
        assert " style=" not in page, "the policy admits the page's own style alone"


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_gets_in(text: str) -> None:
    class Scripts(HTMLParser):
        scripts = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.scripts += tag in ("script", "img", "b") and ("aria-hidden", "true") not in attrs
            assert not any(name.startswith("on") for name, _ in attrs)
            assert not any((value or "").startswith("javascript:") for _, value in attrs)

    plain_one = _poisoned(msgspec.to_builtins(EVERY["mixed"]), text)
    hostile = msgspec.convert(plain_one, Checked, strict=False)
    for page in (render_check(hostile), render_index([hostile, hostile])):
        parser = Scripts()
        parser.feed(page)
        tame = Scripts()
        tame.feed(render_check(EVERY["mixed"]))
        assert parser.scripts <= tame.scripts
    render_check_markdown([hostile])


def _poisoned(value: object, text: str) -> object:
    if isinstance(value, dict):
        fixed = ("verdict", "pages", "scripts")
        return {k: v if k in fixed else _poisoned(v, text) for k, v in value.items()}
    return poisoned(value, text) if isinstance(value, str) else (
        [_poisoned(v, text) for v in value] if isinstance(value, list | tuple) else value
    )  # fmt: skip


# -- the pieces ---------------------------------------------------------------------------------


def test_lines_that_make_a_wrong_gradient_are_marked() -> None:
    marks = {line.number: line.mark for line in own_lines(WRONG) if line.mark}
    assert marks == {16: "first", 17: "follows", 18: "follows"}
    kept = msgspec.structs.replace(
        WRONG, mistakes=(), first_wrong="", source="self.dW = 1\nself.dWx = 2\nif self.dW == 1:\n",
        tensors=(msgspec.structs.replace(WRONG.tensors[0], name="self.dW"),),
    )  # fmt: skip
    assert [line.mark for line in own_lines(kept)] == ["first", "", ""]
    unnamed = msgspec.structs.replace(kept, source="def f(x):\n    return x\n")
    assert [line.mark for line in own_lines(unnamed)] == ["", "first"]
    assert not own_lines(Part("f", "wrong"))


@pytest.mark.parametrize(
    ("yours", "right", "shown"),
    [
        (0.25, 0.25, "0.25"),
        (1.25, 1.5, "1.<mark>25</mark>"),
        (-0.5, 0.5, "<mark>−0.5</mark>"),
        (15.0, 1.5, "<mark>15</mark>"),
        (1e-20, 1e20, "<mark>1e-20</mark>"),
        (float("nan"), 1.0, "<mark>nan</mark>"),
        (1.0, 1.0 + 1e-13, "1"),
    ],
)
def test_digits_that_differ_are_marked(yours: float, right: float, shown: str) -> None:
    assert marked_digits(yours, right)[0] == shown


def test_what_differs_is_shown_first_and_in_order() -> None:
    yours = tuple(float(i % 30 == 29) for i in range(60))
    shown = entries(Numbers("dW", (6, 10), yours, (0.0,) * 60))
    assert [e.at for e in shown if "<mark>" in e.yours] == ["[2, 9]", "[5, 9]"]
    assert len(shown) == 12 and shown[0].at == "[0, 0]"


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("δz1 = δh1 · (1 − h1²)", r"\delta z_{1} = \delta h_{1} \cdot  (1 - h_{1}^{2})"),
        ("∂L/∂W = xᵀ δz / N", r"\partial L /\partial W  = x ^{T} \delta z  / N "),
        ("δz = δa · 1/√v", r"\delta z  = \delta a  \cdot  1/\sqrt{v} "),
        ("δx = δz Wᵀ / D_out", r"\delta x  = \delta z  W ^{T} / D_{\text{out}}"),
        ("grad_Wh = 0 where z ≤ 0", r"\text{grad_Wh} = 0 \text{ where } z  \le  0"),
        ("params['W1'] = 3", None),
        (r"\href{x}{y}", None),
        ("", None),
        ("x" * 500, None),
    ],
)
def test_plain_formulas_are_mathematics(text: str, latex: str | None) -> None:
    assert to_latex(text) == latex
    assert ("<math" in formula(text)) == (latex is not None)


def test_a_picture_has_a_place_for_every_entry() -> None:
    numbers = Numbers(
        "dW", (2, 3), (1.0, 2.0, float("nan"), 0.0, -1.0, 5.0), (1.0, 2.5, 0.0, 0.0, 1.0, 5.0)
    )
    drawn, squares = bars(numbers), heat(numbers)
    assert drawn is not None and squares is not None
    assert [c.finite for c in drawn.columns] == [True, True, False, True, True, True]
    assert [s.level for s in squares.squares] == [0, 4, 6, 0, 4, 0]
    assert (squares.width, squares.height) == (54, 36)
    assert bars(Numbers("dW", (5, 5), (1.0,) * 25, (1.0,) * 25)) is None
    assert heat(Numbers("dW", (), (1.0,), (1.0,))) is None
    large = heat(Numbers("dW", (2, 2, 100), (1.0,) * 400, (1.0,) * 400))
    assert large is not None and large.cut and len(large.squares) == 4 * 48
    assert entry(5, (2, 3)) == "[1, 2]" and entry(0, ()) == ""


# -- the folder ---------------------------------------------------------------------------------


def test_one_check_has_its_page_as_index(tmp_path: Path) -> None:
    write_checks(tmp_path, [EVERY["wrong"]])
    assert {p.name for p in tmp_path.iterdir() if p.name[0] != "."} == {
        "index.html", "summary.md", "badge.svg", "check.json", "repro.py"
    }  # fmt: skip
    assert (tmp_path / "repro.py").read_text() == WRONG.script
    [read] = read_checked((tmp_path / "check.json").read_bytes())
    assert read.parts[0].mistakes == WRONG.mistakes and read.scripts == ("repro.py",)
    assert "NaN" not in (tmp_path / "check.json").read_text()


def test_several_have_a_list_and_a_page_each(tmp_path: Path) -> None:
    write_checks(tmp_path, example_checks())
    index = (tmp_path / "index.html").read_text()
    pages = re.findall(r'href="(check_\w+\.html)"', index)
    assert len(set(pages)) == 12
    for name in pages:
        assert 'href="index.html">All files' in (tmp_path / name).read_text()
    assert {p.name for p in tmp_path.glob("repro*")} == {
        "repro_0_mlp_backward.py", "repro_1_mlp_backward.py"
    }  # fmt: skip
    write_checks(tmp_path, [EVERY["right"]])
    assert not list(tmp_path.glob("check_*.html")) and not list(tmp_path.glob("repro*"))


def test_pages_are_made_again_from_check_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checks(tmp_path, example_checks())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / "index.html").write_text("old")
    assert main([str(tmp_path)]) == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert capsys.readouterr().out == (tmp_path / "summary.md").read_text()
    (tmp_path / "check.json").write_text('{"what": 1, "exit_code": 0, "headline": ""}')
    assert main([str(tmp_path)]) == 2
    assert "not a check.json" in capsys.readouterr().err


def test_numbers_that_json_does_not_know_survive() -> None:
    one = checked(WRONG, code=1, headline="h")
    [read] = read_checked(json.dumps(plain(one)))
    assert repr(read.parts[0].picture[2].yours[1]) == "nan"
    assert read.parts[0].picture[0] == one.parts[0].picture[0]
    assert plain("half \udce9") == "half ?"
    with pytest.raises(ReportError, match=r"not a check\.json"):
        read_checked("[1]")


def test_an_empty_list_has_a_page(tmp_path: Path) -> None:
    write_checks(tmp_path, [])
    assert "nothing was checked" in (tmp_path / "index.html").read_text()
    assert RIGHT.ok and not UNCHECKED.ok and SOURCE

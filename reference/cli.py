"""The commands. Each is a thin function that imports what it needs when it is called.

Exit 0: nothing deviates on the manual side; 1: a manual gradient is wrong or could not be computed;
2: bad input or usage, one line without a traceback; 70: an error of this program, with a traceback;
130: Ctrl-C. `check` has codes of its own.
"""

import json
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from reports.streams import NO_ROOM, flushed_streams, reader_gone, usable_streams

EXIT_OUR_FAULT = 70
"""An error of this program, as sysexits.h numbers it; 1 means that a gradient is wrong."""

OUR_FAULT = """
manual-backprop itself failed. This says nothing about a gradient. Please report the lines above.
"""

DEFAULT_OUT = Path("discrepancy-report")

MAX_ERROR_TEXT = 1000
"""Characters of an error line."""

# typer has its own copy of click and exports few of its errors; this is their base class.
UsageError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables show a flag as "--strict <bool>", as if it took a value
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A hand-written NumPy backprop, checked against PyTorch, JAX and a certified gradient.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"manual-backprop {version('manual-backprop')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options that belong to no command."""


Json = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
Seed = Annotated[
    int, Option(help="Seed of the random problems; the same seed draws the same problems.")
]


def _renamed(folder: Path | None) -> None:
    if folder is not None:
        raise typer.BadParameter("this option is called --add-to")


RenamedReport = Annotated[Path | None, Option("--report", hidden=True, callback=_renamed)]
"""In `check` a folder that --report writes; here it was one that exists."""


@app.command()
def check(
    targets: Annotated[
        list[str],
        Argument(
            metavar="TARGET...",
            help="What to check: FILE.py, FILE.ipynb, a folder, FILE.py:name or module:name.",
        ),
    ],
    like: Annotated[
        str | None,
        Option(
            help="Name of the activation (see `ops`) that the forward should compute, for example "
            "gelu; a remark says if it does not, or if it could not be compared. Losses and layers "
            "are never compared."
        ),
    ] = None,
    problems: Annotated[
        int | None,
        Option(
            help="Problems drawn for each gradient; default: 20; fewer, at least 4, when one run "
            "of your code takes many operations."
        ),
    ] = None,
    seed: Seed = 0,
    report: Annotated[
        Path | None,
        Option(help="Folder that gets a page and a script that reproduces each mistake."),
    ] = None,
    timeout: Annotated[
        float | None,
        Option(
            help="Processor time in seconds that your code may take for one problem; default: 10."
        ),
    ] = None,
    frameworks: Annotated[
        str | None,
        Option(
            help="Also compare the frameworks' own gradients with the certified one: torch, jax or "
            "torch,jax."
        ),
    ] = None,
    allow_unchecked: Annotated[
        bool,
        Option(
            "--allow-unchecked",
            help="Exit 0 when all checked gradients are right, even if others are NOT CHECKED. A "
            "gradient that your backward does not return is always allowed.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="Also exit 1 when a right gradient is FRAGILE: it loses digits or "
            "fails at extreme inputs.",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Check your gradient: where it is wrong, and which mistake.

    Exit codes: 0 all gradients are right, 1 one is wrong or failed, 2 nothing was checked or not
    all of it, 3 your code hung, 4 it ended the process.
    """
    from reference.checks.command import run

    return run(
        targets, like=like, problems=problems, seed=seed, report=report, timeout=timeout,
        frameworks=frameworks, allow_unchecked=allow_unchecked, strict=strict, as_json=as_json,
    )  # fmt: skip


@app.command()
def report(
    context: typer.Context,
    problems: Annotated[
        int, Option(help="How many random problems (dense networks and graphs) are drawn.")
    ] = 2000,
    seed: Seed = 0,
    dtype: Annotated[
        str,
        Option(
            help="Number type: float32, float64, both (= float32 and float64), bfloat16 or float16."
        ),
    ] = "both",
    activation: Annotated[
        list[str] | None,
        Option(
            help="Draw only this activation (see `ops`); then only dense networks are drawn, "
            "unless --architecture is given. Repeat it for several."
        ),
    ] = None,
    loss: Annotated[
        list[str] | None,
        Option(
            help="Draw only this loss (see `ops`); then only dense networks are drawn, unless "
            "--architecture is given. Repeat it for several."
        ),
    ] = None,
    regime: Annotated[
        list[str] | None,
        Option(
            help="Draw numbers only of this kind: ordinary, lattice, kink, saturated, tiny, huge, "
            "subnormal, ill_conditioned, repeated_rows or special. Repeat it for several."
        ),
    ] = None,
    architecture: Annotated[
        list[str] | None,
        Option(
            help="Draw only networks of this shape: dense, alone (a single layer), stack, "
            "convolution, sequence, residual, branches, transformer or recurrent. Repeat it for "
            "several."
        ),
    ] = None,
    oracle: Annotated[
        list[str] | None,
        Option(
            help="Use only these implementations: manual (required), torch, jax, complex_step "
            "(shown, but not judged), or MODULE:CLASS for your own oracle. Repeat it for several."
        ),
    ] = None,
    order: Annotated[
        int,
        Option(
            help="1 compares gradients. 2 compares Hessian-vector products; each framework "
            "computes them in several ways."
        ),
    ] = 1,
    workers: Annotated[int, Option(help="How many worker processes to start.")] = 2,
    scheduler: Annotated[
        str | None,
        Option(
            help="Run on the Dask scheduler at tcp://HOST:PORT instead of local workers; needs the "
            "extra `distributed`."
        ),
    ] = None,
    out: Annotated[Path, Option(help="Folder that gets the report.")] = DEFAULT_OUT,
    networks_only: Annotated[
        bool,
        Option("--networks-only", help="Leave out the sections about operations and articles."),
    ] = False,
    resume: Annotated[
        bool, Option("--resume", help="Continue the unfinished run in the folder of --out.")
    ] = False,
    fresh: Annotated[
        bool, Option("--fresh", help="Delete the unfinished run in that folder and start again.")
    ] = False,
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="Also exit 1 when an oracle crashed, or computes another function than the "
            "definition (verdict VALUE).",
        ),
    ] = False,
) -> int:
    """Test this project, PyTorch and JAX on random problems.

    It compares the hand-written NumPy library, PyTorch and JAX with a certified gradient, and
    writes a report. For a page about your own code use `check --report FOLDER`.

    Exit codes: 0 nothing deviates on the manual side, 1 a manual gradient is wrong or could not be
    computed, 2 bad input, 70 this program itself failed, 130 after Ctrl-C.
    """
    from reference.campaign import Plan
    from reference.oracles import SECOND_ORDER
    from reference.running.progress import progress_bar
    from reference.running.report import Interrupted
    from reference.running.report import report as run
    from reference.running.sections import OF_ORDER
    from reports.text import render_text

    plan = Plan(
        seed=seed,
        problems=problems,
        dtypes=() if dtype == "both" else (dtype,),
        activations=tuple(activation or ()),
        losses=tuple(loss or ()),
        regimes=tuple(regime or ()),
        architectures=tuple(architecture or ()),
        oracles=tuple(oracle or (SECOND_ORDER if order == 2 else Plan().oracles)),
        order=order,
        sections=() if networks_only else OF_ORDER.get(order, ()),
    )
    try:
        with progress_bar() as progress:
            summary = run(
                None if resume and not _selects(context) else plan,
                out,
                workers=workers,
                scheduler=scheduler,
                resume=resume,
                fresh=fresh,
                progress=progress,
            )
    except Interrupted as interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not disturb the end
        typer.echo(f"Interrupted. To continue: {interrupted.command}", err=True)
        return 130
    typer.echo(render_text(summary, options=[] if out == DEFAULT_OUT else ["--out", str(out)]))
    typer.echo(f"\nThe page: {out / 'index.html'}")
    return summary.strict_exit_code if strict else summary.exit_code


@app.command()
def explain(
    target: Annotated[
        str,
        Argument(
            metavar="ARTICLE|SEED:INDEX|NETWORK",
            help="An article (004), a problem of a report (0:17) or a network (2-3-1:tanh:mse).",
        ),
    ],
    html: Annotated[
        Path | None, Option(help="Write a page to this file, and print no text.")
    ] = None,
) -> None:
    """Show one problem step by step: formulas, shapes, numbers."""
    from reference.articles.walkthrough import walk

    _claim("html", html, ".html", ".htm")
    shown = walk(target)
    if html is None:
        typer.echo(shown.text())
    else:
        html.write_text(shown.html(), encoding="utf-8")
        typer.echo(f"The page: {html}")


@app.command()
def grade(
    assignment: Annotated[
        Path | None,
        Argument(metavar="ASSIGNMENT", help="TOML file of the assignment."),
    ] = None,
    submissions: Annotated[
        list[str] | None,
        Argument(metavar="SUBMISSIONS...", help="Python files, notebooks, folders or zip files."),
    ] = None,
    out: Annotated[
        Path | None,
        Option(help="Folder that gets the pages and files; run again to resume after a kill."),
    ] = None,
    form: Annotated[
        str,
        Option(
            "--format",
            help="Output format: table, json, csv or junit; for one submission only (or with "
            "--out): gradescope, otter or autolab.",
        ),
    ] = "table",
    workers: Annotated[int, Option(help="How many submissions are graded at once.")] = 2,
    init: Annotated[
        Path | None,
        Option(help="Write this TOML file for the solution of --solution; grade nothing."),
    ] = None,
    solution: Annotated[
        Path | None, Option(help="For --init: your solution, a Python file.")
    ] = None,
) -> int:
    """Grade a class, with partial credit and named mistakes."""
    from reference.grading import command

    if init is not None or solution is not None:
        if init is None or solution is None or assignment is not None:
            raise typer.BadParameter("expected grade --init ASSIGNMENT.toml --solution SOLUTION.py")
        return command.init(init, solution)
    if assignment is None:
        raise typer.BadParameter("expected an assignment: grade ASSIGNMENT.toml SUBMISSIONS...")
    return command.run(assignment, submissions or [], out, form, workers)


@app.command()
def articles(
    target: Annotated[
        list[str] | None,
        Argument(
            metavar="[NNN|FILE]...",
            help="Article numbers such as 002, or Python files that define ARTICLE.",
        ),
    ] = None,
    into: Annotated[
        Path | None, Option("--add-to", help="Also add the claims to the report in this folder.")
    ] = None,
    _: RenamedReport = None,
    as_json: Json = False,
) -> None:
    """Evaluate every claim of five articles, or of your own."""
    from manual_backprop.articles import ARTICLES
    from reference.articles.commands import audit, audit_text
    from reference.running.progress import progress_lines
    from reports.folder import read_report, update_report

    if into is not None:
        read_report(into)  # refuse a folder that is no report before the long work
    with progress_lines("articles"):
        found = audit(target or ARTICLES)
    if into is not None:
        update_report(into, found)
    _print(lambda: found, lambda: audit_text(found), as_json)


@app.command()
def show(
    address: Annotated[
        str,
        Argument(
            metavar="SEED:INDEX",
            help="The problem's address in a report: 0:17, or 0:g17 for a graph. In bfloat16 a b "
            "comes first (0:b17, 0:bg17), in float16 an h.",
        ),
    ],
    order: Annotated[
        int, Option(help="1 shows gradients, 2 also the Hessian-vector products.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Draw one problem of a report again, with all numbers."""
    from reference.show import show, show_data, show_text

    shown = show(address, order)
    _print(lambda: show_data(*shown), lambda: show_text(*shown), as_json)


@app.command()
def conventions(
    write: Annotated[
        bool,
        Option("--write", help="Save the list as the ledger of the installed framework versions."),
    ] = False,
    as_json: Json = False,
) -> int:
    """List what NumPy, PyTorch and JAX return at special inputs.

    For example: which slope ReLU has at 0, and what the softmax of infinities is. The exit code is
    1 if the list differs from the ledger that was saved for the installed versions, and 0 if none
    was saved. It takes about two minutes. Another processor may round differently: a few rows of
    the frameworks can then differ in their last digits, or by a tiny number in place of 0.
    """
    from reference.conventions import ledger
    from reference.running.progress import progress_lines

    with progress_lines("conventions"):
        rows = ledger.discover()
    if write:
        ledger.write(rows, ledger.path())
    _print(lambda: rows, lambda: ledger.summary(rows), as_json)
    if as_json:
        return 0
    if not ledger.path().exists():
        typer.echo(
            f"\nThere is no ledger of these versions ({ledger.path().name}); --write saves one."
        )
        return 0
    changes = ledger.differences(ledger.read(ledger.path()), rows)
    typer.echo("\n" + "\n".join(changes or [f"No change from {ledger.path().name}."]))
    return int(bool(changes))


@app.command()
def accuracy(
    points: Annotated[int, Option(help="How many inputs for each operation.", min=8)] = 600,
    order: Annotated[int, Option(help="2 also measures the second derivative.", min=1, max=2)] = 1,
    as_json: Json = False,
) -> int:
    """Measure the worst error of every operation, in ULP.

    ULP: units in the last place, the distance to the next floating-point number. NumPy (this
    project), PyTorch and JAX are compared with the certified value.

    The exit code is 1 if the hand-written code is less accurate than the better framework.
    """
    from reference.running.progress import progress_lines
    from reference.trials.accuracy import behind, lines, measure

    with progress_lines("accuracy"):
        rows = measure(points=points, order=order)
    _print(lambda: rows, lambda: "\n".join(lines(rows)), as_json)
    return int(bool(behind(rows)))


@app.command()
def trial(
    problems: Annotated[
        int, Option(help="Number of correct networks on which false alarms are counted.", min=1)
    ] = 1000,
    seed: Seed = 0,
    into: Annotated[
        Path | None, Option("--add-to", help="Also add the result to the report in this folder.")
    ] = None,
    _: RenamedReport = None,
    keep: Annotated[
        bool,
        Option("--keep", help="Save the result in the installation; every later report shows it."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Test the checker: errors found, false alarms, blind spots.

    The exit code is 1 if the checker missed an injected mistake or gave a false alarm.
    """
    from reference.running import sections
    from reference.running.progress import progress_lines
    from reference.trials import trial as trials
    from reports.folder import read_report, update_report

    if into is not None:
        read_report(into)  # refuse a folder that is no report before the long work

    with progress_lines("trial") as progress:
        records = trials.trial(problems, seed, progress)
    if keep:
        sections.keep("trial", records)
    if into is not None:
        update_report(into, records)
    _print(lambda: records, lambda: trials.text(records), as_json)
    return int(not trials.passed(records))


@app.command()
def book(
    out: Annotated[Path, Option(help="Folder that gets the book.")] = Path("derivation-book"),
) -> int:
    """Build the derivation book, and check it.

    It derives every operation. Every formula of the activations, the losses and Dense is checked.
    For the other layers the numbers of three examples are checked.

    The exit code is 1 if a formula is wrong or was not checked.
    """
    from reference.book import command

    return command(out, lambda line: typer.echo(line, err=True))


@app.command()
def diff(
    before: Annotated[Path, Argument(metavar="BEFORE", help="Folder of the earlier report.")],
    after: Annotated[Path, Argument(metavar="AFTER", help="Folder of the later report.")],
    out: Annotated[
        Path | None, Option(help="Also write a page, Markdown, text and records to this folder.")
    ] = None,
) -> int:
    """Show what changed between two reports.

    The exit code is 1 if something got worse: a side crashed; a side is no longer installed; a row
    of the ledger became inadmissible; or an operation lost digits. If the two runs drew the same
    problems, it is also 1 if a serious verdict (PRECISION or worse) became more frequent, more
    serious, or larger in its error.
    """
    from reports.diff_pages import render_diff_text
    from reports.folder import diff_folders, write_diff

    difference = diff_folders(before, after)
    typer.echo(render_diff_text(difference), nl=False)
    if out is not None:
        write_diff(out, difference)
        typer.echo(f"\nThe page: {out / 'diff.html'}")
    return difference.exit_code


@app.command()
def train(
    task: Annotated[
        str, Argument(metavar="[digits|iris|moons]", help="The data to train on.")
    ] = "digits",
    steps: Annotated[
        int | None, Option(help="How many training steps; default: 400, and 600 for moons.")
    ] = None,
    dtype: Annotated[
        str, Option(help="Number type of the training: float32 or float64.")
    ] = "float64",
    seed: Annotated[
        int, Option(help="Seed of the first weights and of the order of the samples.")
    ] = 0,
    learning_rate: Annotated[
        float | None,
        Option(
            help="Learning rate; default: 0.1, and 0.02 for iris. If it is too large, differences "
            "of rounding grow from step to step, and the three runs drift apart."
        ),
    ] = None,
    picture: Annotated[
        Path | None, Option(help="Draw the runs in this file: NAME.svg, .png or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train with NumPy, PyTorch and JAX gradients, and compare.

    It needs the extra `train`: scikit-learn and matplotlib.
    """
    from reference.train import picture as draw
    from reference.train import train as run
    from reference.train import training_data, training_text

    _claim("picture", picture, ".svg", ".png", ".pdf")
    done = run(task, steps, dtype, seed, learning_rate)
    _print(lambda: training_data(done), lambda: training_text(done), as_json)
    if picture is not None:
        draw(done, picture)
        typer.echo(f"The picture: {picture}", err=as_json)


@app.command()
def bench(
    what: Annotated[
        str,
        Argument(
            metavar="[steps|throughput|check|second]",
            help="What to time: training steps, networks per second and each part of a run, "
            "`check`, or second derivatives.",
        ),
    ] = "steps",
    as_json: Json = False,
    picture: Annotated[
        Path | None,
        Option(help="For steps: also time many widths and batches, drawn in this SVG file."),
    ] = None,
    clock: Annotated[
        str, Option(help="For steps: wall, or cpu on a busy machine (then one thread only).")
    ] = "wall",
) -> None:
    """Time a training step in each framework, or the checker."""
    from reference.bench.command import bench as run

    _claim("picture", picture, ".svg")
    typer.echo(run(what, as_json, picture, clock, lambda line: typer.echo(line, err=True)))


@app.command()
def ops(as_json: Json = False) -> None:
    """List the operations and their counterparts in the frameworks."""
    from reference.listing import operations, operations_text

    _print(operations, operations_text, as_json)


def _print(data: Callable[[], object], text: Callable[[], str], as_json: bool) -> None:
    """Print what a command found, as JSON or as text."""
    if not as_json:
        typer.echo(text())
        return
    import msgspec

    typer.echo(json.dumps(msgspec.to_builtins(data()), indent=1, ensure_ascii=False))


_HOW_TO_RUN = ("workers", "scheduler", "out", "resume", "fresh", "strict")


def _selects(context: typer.Context) -> bool:
    """Return whether the command line says what to compare, beside how to run."""
    sources = [context.get_parameter_source(n) for n in context.params if n not in _HOW_TO_RUN]
    return any(source and source.name == "COMMANDLINE" for source in sources)


def _claim(option: str, path: Path | None, *endings: str) -> None:
    """Raise InvalidInput, before any work, where a file cannot be written or is not ours.

    Every file that we write contains our name; only such a file is replaced.
    """
    from manual_backprop.operation import InvalidInput
    from reports.reading import read_bytes

    if path is None:
        return
    given = f"{option}={str(path)!r}"
    if path.suffix.lower() not in endings:
        raise InvalidInput(f"{given}: expected a name that ends in {' or '.join(endings)}")
    if path.is_dir():
        raise InvalidInput(f"{given} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise InvalidInput(f"{given}: there is no folder {str(path.parent)!r}")
    if path.exists() and b"manual-backprop" not in read_bytes(path):
        raise InvalidInput(f"{given} exists and was not written by manual-backprop")


def main() -> None:
    """Run a command; bad input ends with one line on stderr and exit 2."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    usable_streams()
    try:
        code = app(standalone_mode=False)
        flushed_streams()
    except (BrokenPipeError, SystemExit) as error:
        # typer turns a broken pipe into exit 1, which would mean that a gradient is wrong.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        reader_gone()
    except UsageError as error:
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        # Imported late, because these import NumPy and --help should be quick.
        from manual_backprop.operation import InvalidInput
        from reports.records import ReportError

        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"{error.filename}: {error.strerror}")
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            _fail(f"it could not be written: {error.strerror}")
        if not isinstance(error, (InvalidInput, ReportError)):
            traceback.print_exc()
            sys.stderr.write(OUR_FAULT)
            sys.exit(EXIT_OUR_FAULT)
        _fail(str(error))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    line = " ".join(message.split())
    if len(line) > MAX_ERROR_TEXT:  # an error quotes its input, which may be long
        line = f"{line[: MAX_ERROR_TEXT // 2]} … {line[-MAX_ERROR_TEXT // 2 :]}"
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    sys.stderr.write(f"manual-backprop: {line}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()

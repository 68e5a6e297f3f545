"""The commands. Each is a thin function that imports what it needs when it is called.

Exit 0: nothing deviates on the manual side; 1: a manual gradient is wrong; 2: bad input or usage,
said in one line without a traceback; 70: an error of our own, with one.
"""

import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from reports.streams import NO_ROOM, flushed_streams, reader_gone, usable_streams

EXIT_OUR_FAULT = 70
"""An error of our own, as sysexits.h numbers it: 1 would say that a gradient is wrong."""

OUR_FAULT = """
manual-backprop failed here, and no gradient is judged by that. Please report the lines above.
"""

LONGEST_ERROR = 1000
"""Characters of an error line."""

# typer carries its own click and names few of its errors; the base of them all stands two up.
UsageError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A hand-written NumPy backprop, checked against PyTorch, JAX and a proven gradient.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"manual-backprop {version('manual-backprop')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Seed = Annotated[int, typer.Option(help="The stream of random problems.")]


@app.command()
def ops(as_json: Json = False) -> None:
    """List the operations, their parameters and their counterparts in PyTorch and JAX."""
    from reference.listing import operations, operations_text

    typer.echo(json.dumps(operations(), indent=1) if as_json else operations_text(), nl=True)


@app.command()
def report(
    context: typer.Context,
    problems: Annotated[int, typer.Option(help="How many random networks.")] = 2000,
    seed: Seed = 0,
    dtype: Annotated[str, typer.Option(help="float32, float64 or both.")] = "both",
    activation: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
    loss: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
    regime: Annotated[list[str] | None, typer.Option(help="Only these; repeatable.")] = None,
    architecture: Annotated[
        list[str] | None,
        typer.Option(help="Only these: dense, alone, stack, residual …; repeatable."),
    ] = None,
    oracle: Annotated[
        list[str] | None, typer.Option(help="Only these, or MODULE:CLASS of yours; repeatable.")
    ] = None,
    order: Annotated[
        int, typer.Option(help="1: gradients. 2: Hessian-vector products, in two ways a framework.")
    ] = 1,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler, tcp://HOST:PORT, instead of workers here.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("discrepancy-report"),
    networks_only: Annotated[
        bool,
        typer.Option(
            "--networks-only", help="Leave out the sections that do not depend on this run."
        ),
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on with an unfinished run.")] = False,
    fresh: Annotated[bool, typer.Option(help="Drop an unfinished run and begin anew.")] = False,
    strict: Annotated[
        bool, typer.Option(help="Exit 1 also when an oracle crashed or computes another value.")
    ] = False,
) -> int:
    """Compare random networks with PyTorch, JAX and a certified gradient; write the report."""
    from reference.campaign import Plan
    from reference.oracles import SECOND_ORDER
    from reference.running.progress import progress_bar
    from reference.running.report import Interrupted
    from reference.running.report import report as run
    from reference.running.sections import SECTIONS
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
        # The sections are about values and first slopes.
        sections=() if networks_only or order == 2 else tuple(SECTIONS),
    )
    try:
        with progress_bar() as progress:
            summary = run(
                None if resume and not _said(context, but_for=_HOW_TO_RUN) else plan,
                out,
                workers=workers,
                scheduler=scheduler,
                resume=resume,
                fresh=fresh,
                progress=progress,
            )
    except Interrupted as interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C finds the end in order
        typer.echo(f"Interrupted. To go on: {interrupted.command}", err=True)
        return 130
    typer.echo(render_text(summary))
    typer.echo(f"\nThe page: {out / 'index.html'}")
    return summary.strict_exit_code if strict else summary.exit_code


@app.command()
def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="FILE.py, FILE.ipynb, a folder, FILE.py:name or module:name.",
        ),
    ],
    like: Annotated[
        str | None, typer.Option(help="The operation it is meant to be, as gelu.")
    ] = None,
    problems: Annotated[
        int | None, typer.Option(help="How many problems are drawn for each gradient.")
    ] = None,
    seed: Seed = 0,
    report: Annotated[
        Path | None, typer.Option(help="A folder for the page and the script that shows it.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds of processor time that one gradient may take.")
    ] = None,
    frameworks: Annotated[
        str | None, typer.Option(help="Also say what these answer: torch, jax or torch,jax.")
    ] = None,
    allow_unchecked: Annotated[
        bool, typer.Option("--allow-unchecked", help="Exit 0 although something was not checked.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 where something is fragile.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Check a gradient that you wrote: right? if not, where, and which mistake is it."""
    from reference.checks.command import run

    return run(
        targets, like=like, problems=problems, seed=seed, report=report, timeout=timeout,
        frameworks=frameworks, allow_unchecked=allow_unchecked, strict=strict, as_json=as_json,
    )  # fmt: skip


@app.command()
def grade(
    assignment: Annotated[
        Path, typer.Argument(help="The assignment's TOML file; with --init, the solution.")
    ],
    submissions: Annotated[
        list[str] | None,
        typer.Argument(metavar="SUBMISSIONS...", help="Files, notebooks, folders, zip files."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for pages and files; a killed run goes on there.")
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="What is printed: table, json, csv, junit, gradescope, otter or autolab.",
        ),
    ] = "table",
    workers: Annotated[int, typer.Option(help="How many are graded side by side.")] = 2,
    init: Annotated[
        Path | None, typer.Option(help="Write this assignment from a reference solution.")
    ] = None,
) -> int:
    """Grade a class: each submission apart, with partial credit, its mistakes named."""
    from reference.grading import command

    if init is not None:
        return command.init(init, assignment)
    return command.run(assignment, submissions or [], out, form, workers)


@app.command()
def show(
    address: Annotated[str, typer.Argument(metavar="SEED:INDEX", help="As a report gives it.")],
    order: Annotated[int, typer.Option(help="2: with its direction and Hessian product.")] = 1,
    as_json: Json = False,
) -> None:
    """Draw one problem of a report again and show all its numbers, answers and the verdict."""
    from reference.show import show, show_data, show_text

    shown = show(address, order)
    typer.echo(json.dumps(show_data(*shown), indent=1) if as_json else show_text(*shown))


@app.command()
def articles(
    target: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NNN|FILE]...", help="Numbers, or Python files with an ARTICLE."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also put the claims into this report's folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decide every printed claim of the five articles, or of your own, by evaluating it."""
    import msgspec

    from manual_backprop.articles import ARTICLES
    from reference.articles.audited import audit, audit_text
    from reference.running.progress import progress_lines

    if report is not None:
        from reports.folder import read_report

        read_report(report)  # a folder that is no report is refused before the long work
    with progress_lines("articles"):
        found = audit(target or ARTICLES)
    if report is not None:
        from reports.folder import update_report

        update_report(report, found)
    typer.echo(
        json.dumps(msgspec.to_builtins(found), indent=1, ensure_ascii=False)
        if as_json
        else audit_text(found)
    )


@app.command()
def explain(
    target: Annotated[
        str,
        typer.Argument(
            metavar="ARTICLE|SEED:INDEX|NETWORK",
            help="004, or 0:17 as a report gives it, or 2-3-1:tanh:mse.",
        ),
    ],
    html: Annotated[Path | None, typer.Option(help="Write a page instead.")] = None,
) -> None:
    """Walk one problem forward and backward: formula, four sides' numbers, shapes, sums."""
    from reference.articles.walkthrough import walk

    _claim("html", html, ".html", ".htm")
    shown = walk(target)
    if html is None:
        typer.echo(shown.text())
    else:
        html.write_text(shown.html(), encoding="utf-8")
        typer.echo(f"The page: {html}")


@app.command()
def bench(
    what: Annotated[
        str, typer.Argument(metavar="[steps|throughput|oracles|judge|check]", help="What is timed.")
    ] = "steps",
    as_json: Json = False,
    picture: Annotated[
        Path | None, typer.Option(help="steps: sweep widths and batches too; draw them here.")
    ] = None,
    clock: Annotated[
        str, typer.Option(help="steps: wall, or cpu on a busy machine (one thread only).")
    ] = "wall",
) -> None:
    """Time a training step by hand and by each framework, or the check itself."""
    from reference.bench.command import bench as run

    _claim("picture", picture, ".svg")
    typer.echo(run(what, as_json, picture, clock, lambda line: typer.echo(line, err=True)))


@app.command()
def train(
    task: Annotated[str, typer.Argument(metavar="[digits|iris|moons]")] = "digits",
    steps: Annotated[
        int | None, typer.Option(help="How many steps; the task's own unless given.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    seed: Annotated[int, typer.Option(help="The start and the order of the samples.")] = 0,
    learning_rate: Annotated[
        float | None, typer.Option(help="The task's own unless given; a large one parts the runs.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the runs: NAME.svg or NAME.png.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train by hand-written, PyTorch and JAX gradients from one start; measure how they part."""
    from reference.train import picture as draw
    from reference.train import train as run
    from reference.train import training_data, training_text

    _claim("picture", picture, ".svg", ".png", ".pdf")
    done = run(task, steps, dtype, seed, learning_rate)
    typer.echo(json.dumps(training_data(done), indent=1) if as_json else training_text(done))
    if picture is not None:
        draw(done, picture)
        typer.echo(f"The picture: {picture}", err=as_json)


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A report's folder.")],
    after: Annotated[Path, typer.Argument(help="The folder of a later report.")],
    out: Annotated[
        Path | None, typer.Option(help="Also write page, Markdown and text into this folder.")
    ] = None,
) -> int:
    """Say what changed between two reports; exit 1 when something got worse."""
    from reports.diff_pages import render_diff_text
    from reports.folder import diff_folders, write_diff

    difference = diff_folders(before, after)
    typer.echo(render_diff_text(difference), nl=False)
    if out is not None:
        write_diff(out, difference)
        typer.echo(f"\nThe page: {out / 'diff.html'}")
    return difference.exit_code


@app.command()
def book(
    out: Annotated[Path, typer.Option(help="The book's folder.")] = Path("derivation-book"),
) -> int:
    """Build the derivation book; a formula that is wrong or unchecked fails it, exit 1."""
    from reference.book import command

    return command(out, lambda line: typer.echo(line, err=True))


@app.command()
def conventions(
    write: Annotated[
        bool, typer.Option("--write", help="Keep it as the ledger of these versions.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Find out what NumPy, PyTorch and JAX answer where they may part; say what has changed."""
    import msgspec

    from reference.conventions import ledger
    from reference.running.progress import progress_lines

    with progress_lines("conventions"):
        rows = ledger.discover()
    if write:
        ledger.write(rows, ledger.path())
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(rows), indent=1, ensure_ascii=False))
        return 0
    typer.echo(ledger.summary(rows))
    if not ledger.path().exists():
        typer.echo(
            f"\nNo ledger of these versions is kept ({ledger.path().name}); --write keeps it."
        )
        return 0
    changes = ledger.differences(ledger.read(ledger.path()), rows)
    typer.echo("\n" + "\n".join(changes or [f"As kept in {ledger.path().name}."]))
    return int(bool(changes))


@app.command()
def accuracy(
    points: Annotated[int, typer.Option(help="Points for each operation.", min=8)] = 600,
    as_json: Json = False,
) -> int:
    """Measure every operation of NumPy, PyTorch and JAX against the proven value, in ULP."""
    import msgspec

    from reference.running.progress import progress_lines
    from reference.trials.accuracy import behind, lines, measure

    with progress_lines("accuracy"):
        rows = measure(points=points)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(rows), indent=1))
    else:
        typer.echo("\n".join(lines(rows)))
    return int(bool(behind(rows)))


@app.command()
def trial(
    problems: Annotated[
        int, typer.Option(help="Correct networks judged for false alarms.", min=1)
    ] = 1000,
    seed: Seed = 0,
    into: Annotated[
        Path | None, typer.Option("--report", help="Put the result into this report.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Show the result in every report from now on.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Validate the judge: sensitivity, mutants, false alarms, blind spots."""
    import msgspec

    from reference.running import sections
    from reference.running.progress import progress_lines
    from reference.trials import trial as trials
    from reports.folder import read_report, update_report

    if into is not None:
        read_report(into)  # a folder that is no report is refused before the long work

    with progress_lines("trial") as progress:
        records = trials.trial(problems, seed, progress)
    if keep:
        sections.keep("trial", records)
    if into is not None:
        update_report(into, records)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(records), indent=1, ensure_ascii=False))
    else:
        typer.echo(trials.text(records))
    return int(not trials.passed(records))


_HOW_TO_RUN = ("workers", "scheduler", "out", "resume", "fresh", "strict")


def _said(context: typer.Context, but_for: tuple[str, ...]) -> bool:
    """Say whether the command line gives an option other than these."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return any(s and s.name == "COMMANDLINE" for name, s in sources.items() if name not in but_for)


def _claim(option: str, path: Path | None, *endings: str) -> None:
    """Refuse, before any work is done, a file that cannot be written or is somebody else's.

    What we write names us; so it is known again, and replaced.
    """
    from manual_backprop.spec import InvalidInput
    from reports.reading import read_bytes

    if path is None:
        return
    said = f"{option}={str(path)!r}"
    if path.suffix.lower() not in endings:
        raise InvalidInput(f"{said}: expected a name that ends in {' or '.join(endings)}")
    if path.is_dir():
        raise InvalidInput(f"{said} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise InvalidInput(f"{said}: there is no folder {str(path.parent)!r}")
    if path.exists() and b"manual-backprop" not in read_bytes(path):
        raise InvalidInput(f"{said} exists and was not written by manual-backprop")


def main() -> None:
    """Run a command; bad input ends with one line on stderr and exit 2."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    usable_streams()
    try:
        code = app(standalone_mode=False)
        flushed_streams()
    except (BrokenPipeError, SystemExit) as error:
        # typer makes exit 1 of a broken pipe, and that would accuse a gradient.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        reader_gone()
    except UsageError as error:
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        # Imported late: --help is to be quick, and these bring NumPy.
        from manual_backprop.spec import InvalidInput
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
    if len(line) > LONGEST_ERROR:  # an error quotes what was given, and that may be anything
        line = f"{line[: LONGEST_ERROR // 2]} … {line[-LONGEST_ERROR // 2 :]}"
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    sys.stderr.write(f"manual-backprop: {line}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()

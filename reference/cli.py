"""The commands. Each is a thin function that imports what it needs when it is called.

Exit 0: nothing deviates on the manual side; 1: a manual gradient is wrong; 2: bad input or usage,
said in one line without a traceback.
"""

import json
import sys
from typing import Annotated

import click
import typer

from manual_backprop.spec import InvalidInput

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A hand-written NumPy backprop, checked against PyTorch, JAX and a proven gradient.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Seed = Annotated[int, typer.Option(help="The stream of random problems.", min=0)]


@app.command()
def ops(as_json: Json = False) -> None:
    """List the operations, their parameters and their counterparts in PyTorch and JAX."""
    from reference.listing import operations, operations_text

    typer.echo(json.dumps(operations(), indent=1) if as_json else operations_text(), nl=True)


def main() -> None:
    """Run a command; bad input ends with one line on stderr and exit 2."""
    try:
        code = app(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except InvalidInput as error:
        _fail(str(error))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    sys.stderr.write(f"manual-backprop: {' '.join(message.split())}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()

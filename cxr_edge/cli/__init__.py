"""The command line: one file per command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys

import typer

from cxr_edge import __version__
from cxr_edge.cli import audit, bench, demo, devices, evaluate, export, inspect, phantom, predict, report, train, verify
from cxr_edge.errors import CxrEdgeError, MissingDependencyError, extra_with

app = typer.Typer(
    name="cxr-edge",
    help="Chest X-ray classifiers, from a folder of images to int8 on a device at the edge. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (audit, train, export, verify, evaluate, bench, report, predict, inspect, devices, phantom, demo):
    app.command(module.__name__.rpartition(".")[2])(module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    pass


def _show_error(error: object) -> None:
    from cxr_edge.console import printable

    # The name of a file in it may hold what a terminal obeys.
    print(printable(f"error: {error}"), file=sys.stderr)


def main() -> None:
    """Entry point: errors of our own become one clear line and their exit status, never a traceback."""
    try:
        app()
    except CxrEdgeError as error:
        _show_error(error)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        extra = extra_with(error.name)
        if extra is None:
            raise
        _show_error(MissingDependencyError(str(error.name), extra))
        sys.exit(MissingDependencyError.exit_code)
    except OSError as error:
        # A full disk, a folder without permission: the message names the file.
        _show_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

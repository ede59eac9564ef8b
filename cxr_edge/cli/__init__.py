"""The command line: one file per command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import io
import os
import sys
import traceback

import typer

from cxr_edge import __version__
from cxr_edge.cli.commands import Commands
from cxr_edge.errors import CxrEdgeError, MissingDependencyError, extra_with, first_line

app = typer.Typer(
    name="cxr-edge",
    cls=Commands,
    help="Chest X-ray classifiers, from a folder of images to int8 files on an edge device. Not a medical device.",
    invoke_without_command=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


#: The environment variable of `--debug`.
DEBUG = "CXR_EDGE_DEBUG"
#: Exit status of a defect.
DEFECT = 1


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
    debug: bool = typer.Option(False, "--debug", help=f"Show the traceback of an error, as {DEBUG}=1 does."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Also show what TensorFlow and the runtimes print."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Show results and errors, no progress."),
) -> None:
    if debug:
        # Processes started by a command see it too.
        os.environ[DEBUG] = "1"
    if verbose or quiet:
        from cxr_edge.console import Verbosity, set_verbosity

        set_verbosity(Verbosity.VERBOSE if verbose else Verbosity.QUIET)
    if context.invoked_subcommand is None:
        from cxr_edge.cli.front_page import show_front_page

        show_front_page()


def _show_error(error: object) -> None:
    from cxr_edge.console import printable

    if os.environ.get(DEBUG):
        traceback.print_exc()
    # A file name in it may contain terminal control characters.
    print(printable(f"error: {error}"), file=sys.stderr)


def _show_defect(error: Exception) -> None:
    _show_error(
        f"{type(error).__name__}: {first_line(error)}. This is a bug in cxr-edge or in a library that it uses; "
        "cxr-edge --debug COMMAND shows where"
    )


def main() -> None:
    """Entry point: every error becomes one clear line and an exit status; only --debug shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal's encoding lacks, such as the lines of a table, become question marks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except SystemExit as end:
        # Typer ends an interrupted command with its status, and without a word.
        if isinstance(end.__context__, typer.Exit) and isinstance(end.__context__.__cause__, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        raise
    except CxrEdgeError as error:
        _show_error(error)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        extra = extra_with(error.name)
        if extra is None:
            _show_defect(error)
        else:
            _show_error(MissingDependencyError(str(error.name), extra))
        sys.exit(DEFECT if extra is None else MissingDependencyError.exit_code)
    except OSError as error:
        # A full disk, a folder without permission: the message names the file.
        _show_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        _show_defect(error)
        sys.exit(DEFECT)

"""The commands by name, each from the module of that name, which is imported when the command is used or listed."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cxr_edge.cli.examples import epilog_of

#: In the order of `cxr-edge --help`: on a workstation, for a device, on a device.
NAMES = (
    *("audit", "train", "shrink", "export", "cascade", "verify", "evaluate", "bench", "report"),
    *("card", "bundle", "release", "pack", "install", "rollback"),
    *("predict", "web", "inspect", "devices", "phantom", "demo"),
)
#: Minimum similarity of two option names for one to be a likely typo of the other.
_ALIKE = 0.75


class Command(TyperCommand):
    """A command that only suggests plausible options: --quantize for --quantise."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # typer does not export this error class.
            if possibilities := getattr(error, "possibilities", None):
                from difflib import get_close_matches

                option = str(getattr(error, "option_name", ""))
                vars(error)["possibilities"] = get_close_matches(option, possibilities, cutoff=_ALIKE)
            raise


def command_named(name: str) -> Any:
    """A command with all of its options."""
    from cxr_edge.cli.spread import spread_out

    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    module = _module(name)
    function, settings = module.command, getattr(module, "CONTEXT_SETTINGS", None)
    single.command(name, cls=Command, help=_help_of(function), epilog=epilog_of(name), context_settings=settings)(
        spread_out(function)
    )
    return typer.main.get_command(single)


def _help_of(function: Any) -> str:
    """The docstring with one line per paragraph: typer would keep the line breaks of all paragraphs but the first."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"cxr_edge.cli.{name}")


class _ListedCommand(TyperCommand):
    """A command whose options are only built when it is used: building those of all commands would delay the list."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return command_named(str(self.name)).make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """All commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: _ListedCommand(name) for name in NAMES}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = self.commands.get(cmd_name)
        if command is not None:
            command.help = inspect.getdoc(_module(cmd_name).command)
        return command

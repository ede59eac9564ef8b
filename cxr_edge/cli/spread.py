"""A command whose options are the fields of dataclasses.

The fields are read by `spread_out`, when the command is used: that takes longer than to import all commands.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import typer


class _Spread(NamedTuple):
    """The options that replace a parameter of a command, and what builds the parameter from their values."""

    options: list[inspect.Parameter]
    gathered: Callable[..., Any]


_Command = Callable[..., None]
#: Attribute of a command: what builds it with its options.
_BUILD = "build"


def spread_out(command: _Command) -> _Command:
    """A command as typer takes it: with fields in place of parameters, where it says so."""
    build: Callable[[], _Command] | None = vars(command).get(_BUILD)
    return command if build is None else build()


def _built_by(command: _Command, build: Callable[[], _Command]) -> _Command:
    vars(command)[_BUILD] = build
    return command


def spread(*parameters: str) -> Callable[[_Command], _Command]:
    """Replace a command's dataclass parameters with these names by their fields, which typer turns into options.

    Each field is annotated like a parameter of a typer command, and has a default.
    """

    def decorate(command: _Command) -> _Command:
        def build() -> _Command:
            hints = get_type_hints(command, include_extras=True)
            return _replaced(command, {name: _Spread(_fields_of(hints[name]), hints[name]) for name in parameters})

        return _built_by(command, build)

    return decorate


def spread_declared(parameter: str, kind: Callable[[], type[Any]]) -> Callable[[_Command], _Command]:
    """Replace a command's parameter, a mapping of values by name, by the fields of a dataclass, which `kind` returns.

    Each field is annotated with an `Option`. An option that is not stated is None, False or empty in the mapping.
    """
    return lambda command: _built_by(command, lambda: _replaced(command, {parameter: _declared_options(kind())}))


def _declared_options(kind: type[Any]) -> _Spread:
    # Needed by `train` and `shrink` alone.
    from cxr_edge.option import declared, flag_of

    options, declarations = [], declared(kind)
    for field in fields(kind):
        own, option = declarations[field.name]
        value: Any = bool if own is bool else _optional(own)
        shown = typer.Option(
            flag_of(field.name),
            help=option.help,
            metavar=option.metavar,
            show_default=option.default_in_words(field) or False,
            rich_help_panel=str(option.panel),
        )
        options.append(_option(field.name, Annotated[value, shown], False if own is bool else None))

    def gathered(**values: Any) -> Mapping[str, Any]:
        return values

    return _Spread(options, gathered)


def _optional(kind: Any) -> Any:
    """The type, for typer, of an option that need not be stated."""
    if get_origin(kind) is tuple:
        return list[get_args(kind)[0]] | None  # type: ignore[misc]
    return kind if get_origin(kind) in (Union, UnionType) else kind | None


def _replaced(command: _Command, spreads: Mapping[str, _Spread]) -> _Command:
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)

    @wraps(command)
    def spread_command(**values: Any) -> None:
        for name, own in spreads.items():
            values[name] = own.gathered(**{option.name: values.pop(option.name) for option in own.options})
        command(**values)

    options = [
        option
        for own in signature.parameters.values()
        for option in (
            spreads[own.name].options if own.name in spreads else [_option(own.name, hints[own.name], own.default)]
        )
    ]
    spread_command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    spread_command.__annotations__ = {own.name: own.annotation for own in options}
    del spread_command.__wrapped__
    return spread_command


def _fields_of(kind: Any) -> list[inspect.Parameter]:
    types = get_type_hints(kind, include_extras=True)
    return [_option(field.name, types[field.name], field.default) for field in fields(kind)]


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

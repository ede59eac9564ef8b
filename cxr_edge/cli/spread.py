"""A command whose options are the fields of dataclasses.

`spread_out` reads the fields only when the command is used, because that takes longer than importing all commands.
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
    build: Callable[..., Any]


_Command = Callable[..., None]
#: Attribute of a command: the function that builds it with its options.
_BUILD = "build"


def spread_out(command: _Command) -> _Command:
    """A command for typer, with the parameters named by `spread` or `spread_declared` replaced by fields."""
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
    """Replace a command's parameter, a mapping of values by name, by the fields of the dataclass that `kind` returns.

    Each field is annotated with an `Option`. An option that is not stated is None, False or empty in the mapping.
    """
    return lambda command: _built_by(command, lambda: _replaced(command, {parameter: _declared_options(kind())}))


def _declared_options(kind: type[Any]) -> _Spread:
    # Only `train` and `shrink` need this import.
    from cxr_edge.option import declared, flag_of

    options, declarations = [], declared(kind)
    for field in fields(kind):
        annotation, option = declarations[field.name]
        value: Any = bool if annotation is bool else _optional(annotation)
        shown = typer.Option(
            flag_of(field.name),
            help=option.help,
            metavar=option.metavar,
            show_default=option.default_in_words(field) or False,
            rich_help_panel=str(option.panel),
        )
        options.append(_option(field.name, Annotated[value, shown], False if annotation is bool else None))

    def mapping(**values: Any) -> Mapping[str, Any]:
        return values

    return _Spread(options, mapping)


def _optional(kind: Any) -> Any:
    """The type, for typer, of an option that need not be stated."""
    if get_origin(kind) is tuple:
        return list[get_args(kind)[0]] | None  # type: ignore[misc]
    return kind if get_origin(kind) in (Union, UnionType) else kind | None


def _replaced(command: _Command, spreads: Mapping[str, _Spread]) -> _Command:
    signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)

    @wraps(command)
    def spread_command(**values: Any) -> None:
        for name, replacement in spreads.items():
            values[name] = replacement.build(**{option.name: values.pop(option.name) for option in replacement.options})
        command(**values)

    options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        options += spreads[name].options if name in spreads else [_option(name, hints[name], parameter.default)]
    spread_command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    spread_command.__annotations__ = {option.name: option.annotation for option in options}
    del spread_command.__wrapped__
    return spread_command


def _fields_of(kind: Any) -> list[inspect.Parameter]:
    types = get_type_hints(kind, include_extras=True)
    return [_option(field.name, types[field.name], field.default) for field in fields(kind)]


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

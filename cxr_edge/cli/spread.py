"""A command whose options are the fields of dataclasses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints


def spread(*parameters: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameters of these names, dataclasses, by their fields, for typer to make options of.

    Each field is annotated as a parameter of a typer command is, and has a default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)

        @wraps(command)
        def spread_command(**values: Any) -> None:
            for name in parameters:
                values[name] = hints[name](**{field.name: values.pop(field.name) for field in fields(hints[name])})
            command(**values)

        options = [
            option
            for own in signature.parameters.values()
            for option in (
                _options_of(hints[own.name])
                if own.name in parameters
                else [own.replace(kind=own.KEYWORD_ONLY, annotation=hints[own.name])]
            )
        ]
        spread_command.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
        spread_command.__annotations__ = {own.name: own.annotation for own in options}
        del spread_command.__wrapped__
        return spread_command

    return decorate


def _options_of(kind: Any) -> list[inspect.Parameter]:
    types = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name]
        )
        for field in fields(kind)
    ]

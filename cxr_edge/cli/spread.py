"""A command whose options are the fields of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, get_type_hints


def spread(parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter of that name, a dataclass, by the dataclass' fields, for typer to make options of.

    Each field is annotated as a parameter of a typer command is, and has a default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature, hints = inspect.signature(command), get_type_hints(command, include_extras=True)
        kind = hints[parameter]
        types = get_type_hints(kind, include_extras=True)
        names = [field.name for field in fields(kind)]

        @wraps(command)
        def spread_command(**values: Any) -> None:
            options = kind(**{name: values.pop(name) for name in names})
            command(**{parameter: options}, **values)

        parameters = []
        for own in signature.parameters.values():
            if own.name == parameter:
                parameters += [
                    inspect.Parameter(field.name, own.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
                    for field in fields(kind)
                ]
            else:
                parameters.append(own.replace(kind=own.KEYWORD_ONLY, annotation=hints[own.name]))
        spread_command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        spread_command.__annotations__ = {own.name: own.annotation for own in parameters}
        del spread_command.__wrapped__
        return spread_command

    return decorate

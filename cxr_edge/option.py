"""How a field of an options dataclass is declared: its help, its panel, and its default."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin, get_type_hints


class Panel(StrEnum):
    """The section of a command's help that shows an option."""

    DATA = "Data"
    TRAINING = "Training"
    SPLIT = "Split"
    OUTPUT = "Output"


@dataclass(frozen=True)
class Option:
    """The `Annotated` metadata of a field; the command line makes an option from it."""

    panel: Panel
    help: str
    #: For a field whose dataclass has no default, because every record states it.
    default: Any = None
    #: Where these differ from the default: without data, and without pre-trained weights.
    phantoms: Any = None
    from_scratch: Any = None
    minimum: int | None = None
    metavar: str | None = None
    #: The default in words, if the value itself is not clear enough.
    shown_default: str | None = None

    def default_for(self, *, phantoms: bool, from_scratch: bool) -> Any:
        """The value if none is stated."""
        if phantoms and self.phantoms is not None:
            return self.phantoms
        return self.from_scratch if from_scratch and self.from_scratch is not None else self.default

    def default_in_words(self, field: Field[Any]) -> str | None:
        """As help shows it; None for an option that is off or empty by default."""
        if self.shown_default is not None:
            return self.shown_default
        default = self.default if field.default is MISSING else field.default
        if default is None or default is False or default == ():
            return None
        exceptions = (("phantoms", self.phantoms), ("from scratch", self.from_scratch))
        return "; ".join([str(default), *(f"{when} {value}" for when, value in exceptions if value is not None)])


def declared(kind: type[Any]) -> dict[str, tuple[Any, Option]]:
    """The type and the declaration of each field of an options dataclass, by its name."""
    options = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        assert get_origin(hint) is Annotated, name
        field_type, option = get_args(hint)
        options[name] = (field_type, option)
    return options


def flag_of(name: str) -> str:
    """The option as typed: `--image-size` for `image_size`."""
    return f"--{name.replace('_', '-')}"

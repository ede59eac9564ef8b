"""Closed sets of choices for options, and the nearest choice to an unknown name.

The command line needs them before a command runs, so nothing slow is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from cxr_edge.errors import OptionError


class Precision(StrEnum):
    """Training precision; `auto`: float16 on a GPU, and on a CPU float32 or bfloat16, whichever is faster."""

    AUTO = "auto"
    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    MIXED_FLOAT16 = "mixed_float16"


class Strategy(StrEnum):
    """How a training is distributed: on one device, on all GPUs of this machine, or on the workers in TF_CONFIG."""

    NONE = "none"
    MIRRORED = "mirrored"
    MULTI_WORKER = "multi-worker"


class OnBadImage(StrEnum):
    """What to do with images that cannot be decoded: leave them out and name them, or refuse to start."""

    SKIP = "skip"
    FAIL = "fail"


class Resize(StrEnum):
    """How a picture is resized to S x S: the choices of `train --resize`."""

    STRETCH = "stretch"
    PAD = "pad"


Choice = TypeVar("Choice", bound=StrEnum)


def choice_of(kind: type[Choice], name: str, option: str) -> Choice:
    """The choice that an option's value names. Raises OptionError, which lists all choices."""
    try:
        return kind(name)
    except ValueError:
        raise OptionError(f"{option} {name}: {nearest(name, kind)}") from None


def nearest(name: str, known: Iterable[object]) -> str:
    """The hint for an unknown name: the most similar known one, and a list of all."""
    import difflib

    names = [str(choice) for choice in known]
    # Wrong capitalization is the most common mistake.
    by_lower = {choice.lower(): choice for choice in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    return (f"did you mean {by_lower[near[0]]}? " if near else "") + f"Choose one of {', '.join(names)}"

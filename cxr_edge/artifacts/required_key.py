"""The public key whose owner must have released every artifact that this process loads."""

from __future__ import annotations

import os
from pathlib import Path

from cxr_edge.errors import OptionError

#: The environment variable that names the key's file: it applies to processes that a command starts, too.
REQUIRED_KEY = "CXR_EDGE_REQUIRE_SIGNATURE"


def required_key() -> Path | None:
    """The public key file in `REQUIRED_KEY`; None if it is not set.

    Raises:
        OptionError: it is set but empty, as by a script whose own variable is missing; that must not disable the check.
    """
    key = os.environ.get(REQUIRED_KEY)
    if key is not None and not key.strip():
        raise OptionError(f"{REQUIRED_KEY} is set and names no file; name the owner's public key, or unset it")
    return None if key is None else Path(key)

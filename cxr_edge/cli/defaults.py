"""Options from elsewhere: a TOML file (`--config`), or another run (`train --like`)."""

from __future__ import annotations

from pathlib import Path

import typer

from cxr_edge.errors import OptionError


def options_of_file(context: typer.Context, path: Path | None) -> Path | None:
    """Use the values of a TOML file in place of the command's defaults.

    Raises:
        OptionError: there is no such file, it is not TOML, or it has a key that is not an option; the nearest is named.
    """
    if path is None or context.resilient_parsing:
        return path
    from cxr_edge.choices import nearest
    from cxr_edge.files import read_toml

    try:
        content = read_toml(path)
    except OSError as error:
        raise OptionError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise OptionError(f"{path}: not a TOML file ({error})") from None
    names = _names(context)
    for key in content:
        if key.replace("_", "-") not in names:
            raise OptionError(f"{path}: no option {key}; {nearest(key, sorted(names))}")
    values = {names[key.replace("_", "-")]: value for key, value in content.items()}
    context.default_map = {**(context.default_map or {}), **values}
    return path


def options_of_run(context: typer.Context, folder: Path | None) -> Path | None:
    """Use the options that a run was started with in place of the command's defaults. Raises OptionError, RunError."""
    if folder is None or context.resilient_parsing:
        return folder
    from cxr_edge.records import to_json
    from cxr_edge.runs import run_named

    config = run_named(folder).config()
    if config.student is not None:
        raise OptionError(f"{folder}: is a student, which train cannot make; use cxr-edge shrink to make another")
    options = to_json(config.options)
    if options.get("data") is not None:
        # Recorded even for a run that uses no phantoms.
        del options["phantoms"]
    values = {name: value for name, value in options.items() if value not in (None, [])}
    # A file's values take precedence, in whichever order the two are typed.
    context.default_map = {**values, **(context.default_map or {})}
    return folder


def _names(context: typer.Context) -> dict[str, str]:
    """The parameters that a file may set, by option name without the dashes."""
    excluded = {"help", "config", "like", "resume"}
    names = {max(parameter.opts, key=len).lstrip("-"): str(parameter.name) for parameter in context.command.params}
    return {option: parameter for option, parameter in names.items() if option not in excluded}

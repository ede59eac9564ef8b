"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.defaults import options_of_file, options_of_run
from cxr_edge.cli.json_output import json_target

#: Where help shows an option that several commands have.
OUTPUT = "Output"

RunOption = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Run: its folder, or its name under runs/.", show_default="the latest under runs/", metavar="DIR"
    ),
]
RunOrFoldsOption = Annotated[
    Path | None,
    typer.Option(
        "--run",
        help="Run, or cross-validation: its folder, or its name under runs/.",
        show_default="the latest run under runs/",
        metavar="DIR",
    ),
]
ArtifactOption = Annotated[
    Path | None,
    typer.Option(
        "--artifact", help="A single .tflite or .onnx file.", show_default="the bundle's best", metavar="FILE"
    ),
]
ArtifactsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--artifact",
        help="A single .tflite or .onnx file; repeatable.",
        show_default="the bundle's",
        metavar="FILE",
    ),
]
NewRunOption = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Folder for the run.", show_default="a new one under runs/", metavar="DIR", rich_help_panel=OUTPUT
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="Bundle folder.",
        show_default="this folder if it is one, or the latest run's",
        metavar="DIR",
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Also write the result to this file as JSON; - writes it to standard output, and nothing else there.",
        metavar="FILE|-",
        callback=json_target,
        rich_help_panel=OUTPUT,
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file of options by their names, such as image-size = 224; options that you type take precedence.",
        metavar="FILE.toml",
        is_eager=True,
        callback=options_of_file,
    ),
]
LikeOption = Annotated[
    Path | None,
    typer.Option(
        "--like",
        help="Train with the options of that run; options that you type take precedence.",
        metavar="RUN",
        is_eager=True,
        callback=options_of_run,
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Threads per inference.", show_default="all usable cores", min=1)
]


def _demand_signature(key: Path | None) -> Path | None:
    """Set the environment variable, so that processes started by a command also require the signature."""
    from cxr_edge.artifacts.required_key import REQUIRED_KEY, required_key

    if key is not None:
        os.environ[REQUIRED_KEY] = str(key.absolute())
    return required_key()


SignatureOption = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        help="Refuse anything that the owner of this public Ed25519 key (PEM) did not release.",
        envvar="CXR_EDGE_REQUIRE_SIGNATURE",
        show_default="accept unsigned files",
        metavar="PUBKEY",
        callback=_demand_signature,
    ),
]

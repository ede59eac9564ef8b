"""`cxr-edge phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="Folder to write to.", metavar="DIR")],
    images: Annotated[int, typer.Option("--images", help="Images per class.", min=1)] = 200,
    size: Annotated[int, typer.Option("--size", help="Width and height in pixels.", min=64)] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same images.", min=0)] = 0,
    sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", help="Also write an overview as PNG.", metavar="FILE")
    ] = None,
) -> None:
    """Draw a data set of synthetic chest X-rays in three classes."""
    from cxr_edge.console import progress_bar
    from cxr_edge.errors import DataError
    from cxr_edge.files import replacing
    from cxr_edge.phantoms.data_set import contact_sheet, write_phantoms
    from cxr_edge.phantoms.drawing import LABELS
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.wording import counted

    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: not empty; name a new folder")
    with progress_bar("drawing phantoms", len(LABELS) * images) as bar:
        write_phantoms(folder, images, size, seed, bar.tick)
    if sheet is not None:
        with replacing(sheet) as temporary:
            contact_sheet(seed=seed).save(temporary, format="PNG")
    show(f"{folder}: {counted(images, 'image')} of {size} x {size} pixels in each of {', '.join(LABELS)}")

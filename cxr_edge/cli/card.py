"""`cxr-edge card`."""

from __future__ import annotations

from cxr_edge.cli.options import BundleOption, RunOption


def command(bundle: BundleOption = None, run: RunOption = None) -> None:
    """Update the model card of a bundle with the benchmarks, audits and evaluations made since its export.

    The records are bench.json, audit.json and evaluate*.json in the run's folder.
    """
    from cxr_edge.artifacts.release import read_release
    from cxr_edge.reporting.card.card import update_card
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.selection import find_bundle, run_of

    folder = find_bundle(bundle, run)
    # Outside its run's folder, a bundle lacks the run's records: an update would remove them from its card.
    run_of(folder)
    card = update_card(folder)
    for note in card.notes:
        show(note)
    show(f"model card: {card.path}{'' if card.changed else ', unchanged'}")
    if card.changed and (release := read_release(folder)):
        show(f"warning: {release} was signed with another card; sign the bundle again under a higher version")

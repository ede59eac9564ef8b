"""`cxr-edge verify`."""

from __future__ import annotations

from cxr_edge.cli.options import AgreementOption, BundleOption, DropOption, JsonOption, RunOption


def command(
    run: RunOption = None,
    bundle: BundleOption = None,
    min_agreement: AgreementOption = None,
    max_accuracy_drop: DropOption = None,
    json: JsonOption = None,
) -> None:
    """Compare each artifact with the Keras model on the test split; exit status 3 when one fails the gate."""
    from cxr_edge.evaluation.parity import demanded
    from cxr_edge.evaluation.verify import verify_bundle
    from cxr_edge.files import write_json
    from cxr_edge.locate import find_bundle, run_of
    from cxr_edge.reporting.parity import gate_parity, show_parity

    folder = find_bundle(bundle, run)
    rows = verify_bundle(folder, demanded(min_agreement, max_accuracy_drop))
    show_parity(rows, phantoms=run_of(folder).config()["options"]["data"] is None)
    if json is not None:
        write_json(json, rows)
    gate_parity(rows)

"""`cxr-edge verify`."""

from __future__ import annotations

from cxr_edge.cli.options import AgreementOption, DropOption, JsonOption, RunOption


def command(
    run: RunOption = None,
    min_agreement: AgreementOption = 0.95,
    max_accuracy_drop: DropOption = 0.02,
    json: JsonOption = None,
) -> None:
    """Compare each artifact with the Keras model on the test split; exit status 3 when one fails the gate."""
    from cxr_edge.evaluation.parity import Gate
    from cxr_edge.evaluation.verify import verify_bundle
    from cxr_edge.files import write_json
    from cxr_edge.reporting.parity import gate_parity, show_parity
    from cxr_edge.runs import find_run

    found = find_run(run)
    rows = verify_bundle(found, Gate(min_agreement, max_accuracy_drop))
    show_parity(rows, phantoms=found.config()["options"]["data"] is None)
    if json is not None:
        write_json(json, rows)
    gate_parity(rows)

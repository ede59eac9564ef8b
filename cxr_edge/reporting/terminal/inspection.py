"""What `inspect` prints."""

from __future__ import annotations

from typing import Any

from cxr_edge.reporting.terminal.tables import percent, show, show_table


def _contract_line(value: dict[str, Any]) -> str:
    return f"{value['name']} {value['type']} [{', '.join(str(size) for size in value['shape'])}]"


def show_inspection(found: dict[str, Any]) -> None:
    """The result of `cxr_edge.inspection.inspect.inspect`, as two columns."""
    rows = [["format", found["format"]], ["size", f"{found['bytes'] / 1e6:.2f} MB"], ["SHA-256", found["sha256"]]]
    metadata = found["metadata"]
    if metadata is None:
        rows.append(["metadata", "none of cxr-edge's: written by another tool"])
    else:
        rows += [
            ["quantization", metadata["quantization"]],
            ["labels", ", ".join(metadata["labels"])],
            ["input", _contract_line(metadata["contract"]["input"])],
            ["output", _contract_line(metadata["contract"]["output"])],
            ["trained on", f"{metadata['training']['data']}, {sum(metadata['training']['images'].values())}"],
            ["exported by", f"cxr-edge {metadata['cxr_edge']}"],
        ]
        if calibration := metadata.get("calibration"):
            kept = f", {' '.join(calibration['keep_float'])} kept in float" if "keep_float" in calibration else ""
            rows.append(["calibration", f"{calibration['method']}, {calibration['images']} images{kept}"])
        if parity := metadata.get("parity"):
            rows.append(
                [
                    "parity",
                    f"{parity['verdict']}: agreement {percent(parity['agreement'])} %, accuracy "
                    f"{percent(parity['accuracy'])} % (Keras {percent(parity['reference_accuracy'])} %) on "
                    f"{parity['images']} images",
                ]
            )
    computation = found["computation"]
    if computation is None:
        rows.append(["computation", f"not looked into: {found['missing']}"])
    else:
        total = computation["integer_macs"] + computation["float_macs"]
        weights = ", ".join(f"{dtype} {size / 1e6:.2f} MB" for dtype, size in computation["weight_bytes"].items())
        rows += [
            ["multiply-adds", f"{total / 1e6:.1f} million, {percent(computation['integer_share'], 2)} % integer"],
            ["weights", weights],
            ["operators", ", ".join(f"{kind} {count}" for kind, count in computation["operators"].items())],
        ]
        after = " after ONNX Runtime's optimization" if found["format"] == "onnx" else ""
        rows.append(
            [
                "convolutions",
                f"{computation['integer_convolutions']} integer, {computation['float_convolutions']} float{after}",
            ]
        )
        if delegate := found["delegate"]:
            left = f"; left to LiteRT: {', '.join(delegate['left'])}" if delegate["left"] else ""
            rows.append(
                [
                    "delegate",
                    f"{delegate['delegate']} takes {delegate['taken']} of {delegate['operators']} operators, in "
                    f"{delegate['pieces']} {'piece' if delegate['pieces'] == 1 else 'pieces'}{left}",
                ]
            )
        if computation["verdict"] != "float" and computation["float_operators"]:
            names = computation["float_operators"]
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            rows.append(["in float", ", ".join(names[:5]) + more])
            price = f"{percent(computation['float_macs'] / total, 2)} % of the multiply-adds"
            rows.append(["price of float", f"{price}, {computation['extra_bytes'] / 1e6:.2f} MB more than in int8"])
        rows.append(["verdict", computation["verdict"]])
    show_table(found["file"], ["", "what it is"], rows, texts=2)
    if metadata is not None:
        show(metadata["notice"])

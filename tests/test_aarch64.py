"""The comparison of Arm with x86, without an emulator: verdicts, crashes, and what is missing on a machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.aarch64.__main__ import main, single_bundle
from benchmarks.aarch64.apt import SetupError, debian_mirror, output_of
from benchmarks.aarch64.commands import Outcome, failure_of, run_command
from benchmarks.aarch64.compare import CRASHED, FAILED, PASSED, compare
from benchmarks.aarch64.environment import Machine, check_here, require, version_of
from cxr_edge.artifacts.bundle import listed_artifacts, write_manifest
from tests.artifacts import some_artifact

CLEAR, CLOSE = [0.9, 0.1, 0.0], [0.5, 0.49, 0.01]


def outcomes(*probabilities: list[float], recorded: float = 0.001) -> dict[str, Outcome]:
    """What the commands give on a machine that computes these probabilities."""
    rows = list(probabilities)
    labels = ["ABC"[row.index(max(row))] for row in rows]
    replayed = {"images": len(rows), "tolerance": 0.05, "same_top": len(rows), "probabilities": rows}
    predicted = [{"label": label, "probabilities": row} for label, row in zip(labels, rows, strict=True)]
    return {
        "verify": Outcome([{**replayed, "largest_difference": recorded}], None),
        "predict": Outcome({"rows": predicted}, None),
        "bench": Outcome({"rows": []}, None),
    }


def test_the_same_outputs_pass() -> None:
    changes = compare(outcomes(CLEAR, CLOSE), outcomes(CLEAR, CLOSE))
    assert (changes["verdict"], changes["bench"], changes["failures"]) == (PASSED, "ran", {})
    assert (changes["verify"]["from_x86"], changes["verify"]["same_top_as_x86"]) == (0, 2)


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (outcomes([0.8, 0.2, 0.0]), outcomes(CLEAR)),
        (outcomes(CLEAR, recorded=0.2), outcomes(CLEAR)),
        (outcomes([0.49, 0.5, 0.01]), outcomes(CLOSE)),
        ({**outcomes(CLEAR), "verify": Outcome([{**outcomes(CLEAR)["verify"].result[0], "probabilities": None}], None)},
         outcomes(CLEAR)),
    ],
    ids=["from x86", "from the recording", "another class", "not finite"],
)  # fmt: skip
def test_another_output_fails(there: dict[str, Outcome], here: dict[str, Outcome]) -> None:
    assert compare(there, here)["verdict"] == FAILED


@pytest.mark.parametrize("command", ["verify", "predict", "bench"])
@pytest.mark.parametrize("side", ["Arm", "x86"])
def test_a_crash_is_reported_and_hides_nothing_else(command: str, side: str) -> None:
    arm, x86 = outcomes(CLEAR), outcomes(CLEAR)
    (arm if side == "Arm" else x86)[command] = Outcome(None, "SIGSEGV: last words")
    changes = compare(arm, x86)
    assert changes["verdict"] == CRASHED
    assert changes["failures"] == {f"{command} on {side}": "SIGSEGV: last words"}
    if command == "bench":
        assert changes["verify"]["from_x86"] == 0


def test_heat_maps_are_compared_where_there_are_some() -> None:
    arm, x86 = outcomes(CLEAR), outcomes(CLEAR)
    assert "heatmap_from_x86" not in compare(arm, x86)["predict"]
    arm["predict"].result["rows"][0]["heatmap"] = [[[1.0, 2.0]]]
    x86["predict"].result["rows"][0]["heatmap"] = [[[1.0, 4.0]]]
    predict = compare(arm, x86)["predict"]
    assert (predict["heatmap_from_x86"], predict["heatmap_largest"]) == (2, 4)


def machine(program: str, folder: Path) -> Machine:
    """A machine on which every command runs `program`."""
    return Machine("test", (sys.executable, "-c", program), folder / "packages")


def test_the_cause_of_a_failed_command_is_reported(tmp_path: Path) -> None:
    crash = "import os, signal, sys; print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)"
    assert run_command(machine(crash, tmp_path), ["verify"], 60) == Outcome(None, "SIGSEGV: last words")
    assert (
        run_command(machine("import time; time.sleep(60)", tmp_path), ["bench"], 0.5).failure == "not done after 0.5 s"
    )
    assert run_command(machine("", tmp_path), ["predict"], 60).failure == "it wrote no JSON"
    assert failure_of(2, "a\nerror: no such artifact\n\n") == "exit status 2: error: no such artifact"
    assert failure_of(3, "error: computes something else") is None


def test_a_gate_that_failed_still_gives_its_figures(tmp_path: Path) -> None:
    program = "import sys; open(sys.argv[-1], 'w').write('[1]'); sys.exit(3)"
    assert run_command(machine(program, tmp_path), ["verify"], 60) == Outcome([1], None)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"dpkg-deb \(in the package dpkg\)"):
        require({"dpkg-deb": "in the package dpkg"})
    with pytest.raises(SetupError, match="7"):
        output_of([sys.executable, "-c", "import sys; print('error 7', file=sys.stderr); sys.exit(1)"])


def test_an_arm_machine_is_sent_to_verify(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(SetupError, match="cxr-edge verify --bundle"):
        check_here()
    monkeypatch.setattr(sys, "argv", ["aarch64", "--bundle", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: an emulated Arm CPU")


def test_the_emulators_version() -> None:
    assert version_of("qemu-aarch64 version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)") == (10, 0)
    with pytest.raises(SetupError, match="not an emulator"):
        version_of("qemu-arm version 10.0.13")


def test_the_mirror_is_debians_own() -> None:
    lines = ["https://a.example/ubuntu/", "https://b.example/debian-security/", "https://c.example/debian/"]
    assert debian_mirror("\n".join(lines)) == lines[-1]
    assert debian_mirror("\n".join(lines[:-1])) is None


def test_a_single_bundle_lists_one_artifact(tmp_path: Path) -> None:
    artifacts = [some_artifact(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    write_manifest(tmp_path, artifacts[0].metadata.shared, artifacts)
    single = single_bundle(tmp_path, artifacts[1], tmp_path)
    (listed,) = listed_artifacts(single)
    assert (listed.name, listed.metadata) == ("b.onnx", artifacts[1].metadata)
    assert (single / "b.onnx").is_symlink()

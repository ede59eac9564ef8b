"""The command line as a whole: fast, quiet, and without what it does not need."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import start_up
from cxr_edge import __version__
from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.part import write_part
from cxr_edge.cli.commands import NAMES
from tests.conftest import Cli
from tests.tiny import ramp

EMPTY_APP = "import typer\napp = typer.Typer()\n" + "\n".join(
    f"@app.command()\ndef command{index}() -> None:\n    'Do it.'" for index in range(len(NAMES))
)


def test_help_lists_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    for command in NAMES:
        assert command in result.out


@pytest.mark.parametrize("command", NAMES)
def test_each_command_has_help(cli: Cli, command: str) -> None:
    assert cli(command, "--help").code == 0


def test_version(cli: Cli) -> None:
    assert cli("--version").out.strip() == __version__


def test_unknown_option_is_bad_usage(cli: Cli) -> None:
    assert cli("train", "--no-such-option").code == 2


def test_only_an_option_that_may_have_been_meant_is_suggested(cli: Cli) -> None:
    assert "--quantize" in cli("export", "--quantise", "int8").err
    result = cli("train", "--quantise", "int8")
    assert result.code == 2
    assert "--phantoms" not in result.err


def test_a_defect_is_one_line_and_a_traceback_on_request(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("a [list]\nof things")

    monkeypatch.delenv("CXR_EDGE_DEBUG", raising=False)
    monkeypatch.setattr("cxr_edge.cli.app", broken)
    result = cli("devices")
    assert result.code == 1
    assert result.err.startswith("error: ValueError: a [list]. ")
    assert "--debug" in result.err
    assert len(result.err.splitlines()) == 1
    monkeypatch.setenv("CXR_EDGE_DEBUG", "1")
    assert "in broken" in cli("devices").err


def test_debug_shows_the_traceback_of_an_expected_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_EDGE_DEBUG", "")
    assert "Traceback" not in cli("inspect", "absent.onnx").err
    assert "Traceback" in cli("--debug", "inspect", "absent.onnx").err


def test_any_value_of_the_debug_variable_shows_the_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_EDGE_DEBUG", "please")
    assert "Traceback" in cli("inspect", "absent.onnx").err
    assert cli("--version").code == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cxr_edge.cli import main; sys.argv = ['cxr-edge', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('HEAVY', sorted({'tensorflow', 'numpy', 'PIL', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in result.stdout


def test_listing_the_commands_does_not_load_their_options(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.cli.commands.command_named", lambda name: pytest.fail(f"read the options of {name}"))
    listed = cli("--help")
    assert listed.code == 0, listed.err
    assert "Classify images with one artifact." in listed.out


def test_a_prediction_imports_nothing_that_it_does_not_need(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    Image.fromarray(ramp()).save(tmp_path / "x.png")
    arguments = [
        "predict",
        str(tmp_path / "x.png"),
        "--artifact",
        str(tiny / "xception-int8.tflite"),
        "--runtime",
        "litert",
    ]
    unneeded = (
        *("rich", "pydicom", "onnxruntime", "cxr_edge.machine", "cxr_edge.imaging.dicom", "cxr_edge.structure.onnx"),
        *("cxr_edge.runtimes.accelerators", "cxr_edge.runtimes.vulkan", "cxr_edge.artifacts.release"),
        *("cxr_edge.cli.train", "cxr_edge.train_options", "cxr_edge.benchmarking", "cxr_edge.phantoms"),
    )
    code = (
        f"import sys; from cxr_edge.cli import main; sys.argv = ['cxr-edge', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print('UNNEEDED', sorted(set({unneeded!r}) & set(sys.modules)))"
    )
    # A file that is new to the machine is tried in a process of its own first.
    assert cli(*arguments).code == 0
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "COVID-19" in result.stdout
    assert "UNNEEDED []" in result.stdout


def test_the_benchmark_of_starting_says_what_a_bundle_lacks(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_part([read_artifact(tiny / "xception-int8.tflite")], tmp_path / "part")
    monkeypatch.setattr(sys, "argv", ["start_up", "--bundle", str(tmp_path / "part")])
    with pytest.raises(SystemExit, match=r"xception-int8\.onnx: no such artifact\n.*cxr-edge export --format onnx"):
        start_up.main()


@pytest.mark.slow
def test_help_is_as_fast_as_an_empty_app(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text(EMPTY_APP + "\napp()\n")
    empty = [sys.executable, str(tmp_path / "empty.py"), "--help"]
    ours = [sys.executable, "-m", "cxr_edge", "--help"]
    # As installed: with bytecode, which the first round writes even where the environment disables it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "bytecode")
    seconds: dict[str, list[float]] = {"empty": [], "ours": []}
    for _ in range(8):
        for name, command in (("empty", empty), ("ours", ours)):
            # CPU time: wall-clock time would include the work of other processes.
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, capture_output=True, check=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # 0.1 s on a machine that shows the empty one in 0.25 s, and as much of its time on a slower or busier one.
    assert min(seconds["ours"]) < 1.4 * min(seconds["empty"])


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["tensorflow", "scipy", "sklearn", "matplotlib", "jinja2", "markupsafe"])
def test_a_report_without_the_training_extra_names_it(missing: str, tmp_path: Path) -> None:
    code = f"""
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
sys.argv = ["cxr-edge", "report", "--bundle", {str(tmp_path)!r}]
from cxr_edge.cli import main
main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.strip() == f"error: {missing} is not installed here: pip install 'cxr-edge[train]'"

"""The command line as a whole: fast, quiet, and without what it does not need."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge import __version__
from tests.conftest import Cli

COMMANDS = (
    "audit",
    "train",
    "export",
    "verify",
    "evaluate",
    "bench",
    "bundle",
    "devices",
    "report",
    "release",
    "pack",
    "install",
    "rollback",
    "predict",
    "inspect",
    "phantom",
    "demo",
)
EMPTY_APP = "import typer\napp = typer.Typer()\n" + "\n".join(
    f"@app.command()\ndef command{index}() -> None:\n    'Do it.'" for index in range(len(COMMANDS))
)


def test_help_lists_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert command in result.out


@pytest.mark.parametrize("command", COMMANDS)
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


def test_debug_shows_where_an_error_of_ours_comes_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_EDGE_DEBUG", "")
    assert "Traceback" not in cli("inspect", "absent.onnx").err
    assert "Traceback" in cli("--debug", "inspect", "absent.onnx").err


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cxr_edge.cli import main; sys.argv = ['cxr-edge', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('HEAVY', sorted({'tensorflow', 'numpy', 'PIL', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in result.stdout


@pytest.mark.slow
def test_help_is_as_fast_as_an_empty_app(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text(EMPTY_APP + "\napp()\n")
    empty = [sys.executable, str(tmp_path / "empty.py"), "--help"]
    ours = [sys.executable, "-m", "cxr_edge", "--help"]
    seconds: dict[str, list[float]] = {"empty": [], "ours": []}
    for _ in range(3):
        for name, command in (("empty", empty), ("ours", ours)):
            # Its own time: beside other work, what passes on the clock is theirs too.
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds["ours"]) - min(seconds["empty"]) < 0.1


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

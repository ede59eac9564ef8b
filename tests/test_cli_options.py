"""Options: from a file, as another run had them, to standard output, misspelt; and the examples in help."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_edge.choices import nearest
from cxr_edge.cli.commands import NAMES, command_named
from cxr_edge.cli.examples import EXAMPLES
from cxr_edge.console import Verbosity, is_verbose
from cxr_edge.files import write_json
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.train_options import completed
from tests.artifacts import old_record
from tests.conftest import Cli

TYPED = [(name, typed) for name, examples in EXAMPLES.items() for typed, _ in examples]


@pytest.mark.parametrize(("command", "typed"), TYPED)
def test_each_example_is_accepted_by_its_command(
    command: str, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two examples read options from a run and a file.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text(json.dumps(old_record("run.json")))
    (tmp_path / "train.toml").write_text("seed = 1\n")
    # An example's --require-signature holds for what its process does; here, for this test alone.
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", "unset")
    monkeypatch.delenv("CXR_EDGE_REQUIRE_SIGNATURE")
    program, name, *arguments = shlex.split(typed)
    assert (program, name) == ("cxr-edge", command)
    command_named(command).make_context(command, arguments)


def test_examples_fit_on_80_columns() -> None:
    for name, examples in EXAMPLES.items():
        width = max(len(typed) for typed, _ in examples)
        assert width + 2 + max(len(purpose) for _, purpose in examples) <= 78, name


def test_every_command_has_examples_and_help_shows_them(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(EXAMPLES) == set(NAMES)
    out = cli("train", "--help").out
    assert "Examples" in out
    assert "cxr-edge train --data x-rays --folds 5" in out
    for panel in ("Data", "Training", "Split", "Output"):
        assert f"─ {panel} ─" in out


def test_a_misspelt_name_gets_the_nearest(cli: Cli) -> None:
    assert "'train'" in cli("trian").err
    assert "--image-size" in cli("train", "--image-siz", "71").err
    unknown = cli("export", "--quantize", "int9")
    assert unknown.code == 2
    assert "int8-ptq" in unknown.err
    assert "'none', 'mirrored'" in cli("train", "--strategy", "mirored").err
    assert nearest("covid-19", ("COVID-19", "Normal")).startswith("did you mean COVID-19?")
    assert nearest("zzz", ("COVID-19", "Normal")) == "Choose one of COVID-19, Normal"


@pytest.mark.parametrize("typed", [["--quantize", "none"], ["--quantize=none"], ["--config", "old.toml"]])
def test_float32_is_known_by_its_old_name(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.toml").write_text('quantize = ["none"]')
    # Past the command line, to the run that is not there.
    assert "not a run folder" in cli("export", *typed, "--run", tmp_path / "nowhere").err


@pytest.fixture
def started_options(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `train` was about to start with."""
    seen: list[dict[str, Any]] = []

    def remember(folder: Path, stated: Any, resuming: bool) -> dict[str, Any]:
        seen.append(dict(stated))
        return {}

    monkeypatch.setattr("cxr_edge.cli.train._trained", remember)
    return seen


def test_typed_options_override_those_of_a_file(
    cli: Cli, tmp_path: Path, started_options: list[dict[str, Any]]
) -> None:
    file = tmp_path / "train.toml"
    file.write_text('image-size = 96\nepochs = 3\nresize = "pad"\ninclude = ["lung-opacity"]\n')
    result = cli("train", "--config", file, "--epochs", 5)
    assert result.code == 0, result.err
    assert started_options == [{"image_size": 96, "epochs": 5, "resize": "pad", "include": ("lung-opacity",)}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image-siz = 96", "did you mean image-size?"),
        ("image-size = 'large'", "image-size"),
        ("image-size =", "not a TOML file"),
        (None, "cannot be read"),
    ],
)
def test_an_unusable_options_file_is_refused(
    cli: Cli, tmp_path: Path, started_options: list[dict[str, Any]], content: str | None, message: str
) -> None:
    file = tmp_path / "train.toml"
    if content is not None:
        file.write_text(content)
    result = cli("train", "--config", file)
    assert result.code == 2
    assert message in result.err
    assert not started_options


@pytest.mark.parametrize("arguments", [("train", "--config"), ("export", "--config"), ("export", "--recipe")])
def test_a_toml_file_that_nests_too_deep_is_refused(cli: Cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(f"folds = {20_000 * '['}")
    result = cli(*arguments, file)
    assert (result.code, "deep.toml: not a TOML file (nested too deep)" in result.err) == (2, True), result.err


def test_a_run_is_repeated_with_the_options_it_had(
    cli: Cli, tmp_path: Path, started_options: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "first")
    config = replace(RunConfig.from_json(old_record("run.json")), options=completed({"seed": 7, "epochs": 2}))
    write_json(run.config_file, to_json(config))
    file = tmp_path / "train.toml"
    file.write_text("epochs = 3\nphantoms = 12\n")
    assert cli("train", "--like", run.folder, "--seed", 8).code == 0
    assert cli("train", "--config", file, "--like", run.folder).code == 0
    like, like_and_file = started_options
    assert (like["seed"], like["epochs"], like["phantoms"]) == (8, 2, 180)
    assert (like_and_file["seed"], like_and_file["epochs"], like_and_file["phantoms"]) == (7, 3, 12)
    assert "data" not in like
    assert cli("train", "--like", tmp_path / "nowhere").code == 2
    phantoms = cli("train", "--like", run.folder, "--data", tmp_path)
    assert (phantoms.code, "was trained on phantoms" in phantoms.err) == (2, True)
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    run.folder.rename("runs/first")
    assert cli("train", "--like", "first").code == 0
    assert started_options[-1] == {**like, "seed": 7}


def test_an_option_that_would_be_ignored_is_refused(cli: Cli, tmp_path: Path, tiny: Path) -> None:
    for arguments, message in (
        (("export", "--data", tmp_path), "--data needs --explain-int8"),
        (("verify", "--bundle", tiny, "--run", tmp_path), "--bundle and --run both name a bundle"),
        (("predict", "a.png", "--bundle", tiny, "--run", tmp_path), "--bundle and --run both name a bundle"),
        (("verify", "--artifact", tiny / "xception-int8.onnx", "--data", tmp_path), "but only single files were named"),
        (("verify", "--bundle", tiny, "--replay", "--shift-images", 5), "--shift-images need the Keras model"),
        (("export", "--explain-int8", "--qat-steps", 5), "leave out the options of the fine-tuning"),
        (("export", "--explain-int8", "--quantize", "float32"), "leave out --format, --quantize and --no-heatmap"),
        (("export", "--explain-int8", "--format", "onnx"), "leave out --format, --quantize and --no-heatmap"),
        (("export", "--explain-int8", "--no-heatmap"), "leave out --format, --quantize and --no-heatmap"),
        (("export", "--quantize", "int8-ptq", "--qat-steps", 5), "nothing is fine-tuned here"),
        # Also at its usual value.
        (("export", "--quantize", "int8-ptq", "--qat-learning-rate", 0.002), "nothing is fine-tuned here"),
        (("export", "--quantize", "float32", "--qat-learning-rate", 0.01), "--qat-learning-rate: nothing is fine-tun"),
        (("web", "--bundle", tiny, "--output", tmp_path / "page", "--port", 9000), "--port needs --serve"),
        (("bundle", "--bundle", tiny, "--only", "int8", "--output", "."), "is the current folder"),
    ):
        result = cli(*arguments)
        assert (result.code, message in result.err) == (2, True), result.err


def test_json_to_standard_output_leaves_nothing_else_there(cli: Cli) -> None:
    result = cli("devices", "--json", "-")
    assert result.code == 0
    assert json.loads(result.out)["schema"] == 1
    assert "What artifacts can be run on here" in result.err


def test_without_a_command_the_next_steps_and_the_latest_run_are_shown(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli()
    assert result.code == 0
    assert "cxr-edge train --data DIR" in result.out
    assert "no run in this folder yet" in result.out
    write_json(Run(Path("runs/first")).config_file, old_record("run.json"))
    out = cli().out
    assert "latest run: runs/first" in out
    assert "next: cxr-edge train --run runs/first --resume" in out
    Path("runs/first/run.json").write_text("{")
    damaged = cli()
    assert damaged.code == 0
    assert "latest run: runs/first/run.json: damaged" in damaged.out


def test_quiet_shows_no_progress_and_verbose_holds_nothing_back(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.console._verbosity", Verbosity.NORMAL)
    assert "drawing phantoms" in cli("phantom", tmp_path / "a", "--images", "2").err
    assert cli("--quiet", "phantom", tmp_path / "b", "--images", "2").err == ""
    assert not is_verbose()
    cli("--verbose", "devices")
    assert is_verbose()

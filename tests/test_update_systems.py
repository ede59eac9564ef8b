"""The scripts by which Mender and RAUC install a model, with stand-ins for what they call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "examples" / "updates"
#: In place of `cxr-edge`: the same record of what is installed, and a rollback that exchanges the two bundles.
CXR_EDGE = """#!{python}
import json, sys
from pathlib import Path

with open("calls", "a") as calls:
    print("cxr-edge", *sys.argv[1:], file=calls)
record = Path("{into}", "installed.json")
state = json.loads(record.read_text()) if record.exists() else {{"active": None, "previous": None}}
if sys.argv[1] == "install":
    if Path("refused").exists():
        sys.exit(2)
    state = {{"active": Path(sys.argv[2]).read_text().strip(), "previous": state["active"]}}
else:
    state = {{"active": state["previous"], "previous": state["active"]}}
record.parent.mkdir(exist_ok=True)
record.write_text(json.dumps(state, indent=2))
"""


class Device:
    """A device with an update system."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._into = folder, folder / "installed"
        program = CXR_EDGE.format(python=sys.executable, into=self._into)
        programs = {"cxr-edge": program, "systemctl": "#!/bin/sh\n[ ! -e broken ]\n"}
        (folder / "bin").mkdir()
        for name, program in programs.items():
            (folder / "bin" / name).write_text(program)
            (folder / "bin" / name).chmod(0o755)

    def run(self, script: str, *arguments: object, **variables: str) -> int:
        text = (SCRIPTS / script).read_text().replace("/var/lib/cxr-edge", str(self._into))
        environment = {"PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}", **variables}
        return subprocess.run(
            ["sh", "-c", text, "sh", *map(str, arguments)], cwd=self._folder, env=environment
        ).returncode

    def deploy(self, model: int) -> None:
        """What Mender does with an artifact: it installs it, and rolls it back where that fails."""
        tree = self._folder / f"tree-{model}"
        for name in ("files", "tmp"):
            (tree / name).mkdir(parents=True)
        (tree / "files" / "model.zip").write_text(f"{model}\n")
        if self.run("mender-module.sh", "ArtifactInstall", tree):
            self.roll_back(model)

    def roll_back(self, model: int) -> int:
        """The exit status of Mender's call to undo an installation."""
        return self.run("mender-module.sh", "ArtifactRollback", self._folder / f"tree-{model}")

    def repair(self, fault: str) -> None:
        (self._folder / fault).unlink()

    def inject(self, fault: str) -> None:
        (self._folder / fault).touch()

    @property
    def active(self) -> str | None:
        state = self._into / "installed.json"
        active: str | None = json.loads(state.read_text())["active"] if state.exists() else None
        return active

    @property
    def calls(self) -> list[str]:
        return (self._folder / "calls").read_text().splitlines()


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_mender_activates_a_model_and_requires_its_signature(device: Device) -> None:
    device.deploy(1)
    device.deploy(2)
    assert device.active == "2"
    assert all("--require-signature /etc/cxr-edge/owner.pub" in call for call in device.calls)


def test_a_failed_mender_installation_keeps_the_active_model(device: Device) -> None:
    for model in (1, 2):
        device.deploy(model)
    device.inject("refused")
    device.deploy(3)
    assert device.active == "2"


def test_mender_rolls_back_if_the_service_does_not_start(device: Device) -> None:
    device.deploy(1)
    device.inject("broken")
    device.deploy(2)
    assert device.active == "1"


def test_a_rollback_that_a_power_cut_repeats_keeps_the_earlier_model(device: Device) -> None:
    device.deploy(1)
    device.inject("broken")
    device.deploy(2)
    device.repair("broken")
    assert device.roll_back(2) == 0
    assert device.active == "1"


@pytest.mark.parametrize("trouble", ["refused", "broken"])
def test_a_failed_first_model_is_not_rolled_back(device: Device, trouble: str) -> None:
    device.inject(trouble)
    device.deploy(1)
    assert not any(call.startswith("cxr-edge rollback") for call in device.calls)


def test_rauc_installs_the_image_of_its_bundle(device: Device, tmp_path: Path) -> None:
    (tmp_path / "model.img").write_text("7\n")
    image = str(tmp_path / "model.img")
    assert device.run("rauc-hook.sh", "slot-install", RAUC_IMAGE_NAME=image) == 0
    assert device.active == "7"
    assert device.run("rauc-hook.sh", "slot-post-install", RAUC_IMAGE_NAME=image) != 0
    device.inject("refused")
    assert device.run("rauc-hook.sh", "slot-install", RAUC_IMAGE_NAME=image) != 0

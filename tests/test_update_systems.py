"""The scripts by which Mender and RAUC install a model, with stand-ins for what they call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "examples" / "updates"
#: In place of `cxr-edge`: the active model is the content of a file.
CXR_EDGE = """#!/bin/sh
echo "cxr-edge $*" >> calls
case "$1" in
  install) [ ! -e refused ] && mkdir -p {into} && cat "$2" > {into}/installed.json ;;
  rollback) echo 1 > {into}/installed.json ;;
esac
"""


class Device:
    """A device with an update system."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._into = folder, folder / "installed"
        programs = {"cxr-edge": CXR_EDGE.format(into=self._into), "systemctl": "#!/bin/sh\n[ ! -e broken ]\n"}
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
            assert self.run("mender-module.sh", "ArtifactRollback", tree) in (0, 1)

    def inject(self, fault: str) -> None:
        (self._folder / fault).touch()

    @property
    def active(self) -> str | None:
        state = self._into / "installed.json"
        return state.read_text().strip() if state.exists() else None

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

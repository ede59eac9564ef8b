"""Releases, packed bundles and their installation: nothing that the owner did not sign, and always a whole bundle."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge import Classifier, open_bundle
from cxr_edge.artifacts.bundle import INSTALLED, MANIFEST, bundle_in, read_bundle, read_manifest
from cxr_edge.artifacts.installation import read_installation
from cxr_edge.artifacts.release import RELEASE, SIGNATURE, signed_release
from cxr_edge.errors import ArtifactError, GateError, OptionError
from cxr_edge.files import sha256_of
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.updates.archive import pack
from cxr_edge.updates.install import install, rollback
from cxr_edge.updates.release import release
from tests.conftest import Cli
from tests.power import Power
from tests.tiny import ramp, write_bundle_with_references


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, Path]) -> Path:
    """Bundles signed as versions 1 and 2 of a model, one that is not signed, and each of them packed."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, temperature, version in (("one", 1.0, 1), ("two", 2.0, 2), ("unsigned", 3.0, None)):
        write_bundle_with_references(folder / name, temperature)
        if version is not None:
            release(folder / name, keys[0], "cart", version)
        pack(folder / name, folder / f"{name}.zip")
    return folder


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installations without the seconds that running the bundle takes."""
    monkeypatch.setattr("cxr_edge.updates.install.prove", lambda folder, max_p90_ms: None)


def active_temperature(folder: Path) -> float:
    """The temperature of the active bundle, after a check that every file of it is whole."""
    read_bundle(bundle_in(folder))
    return read_manifest(bundle_in(folder)).shared.temperature


@pytest.mark.slow
def test_release_pack_install_predict_and_rollback(
    bundles: Path, keys: tuple[Path, Path], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    # What the option sets, for the processes that a command starts, is undone at the end of the test.
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", "unset")
    monkeypatch.delenv("CXR_EDGE_REQUIRE_SIGNATURE")
    bundle, device = Path(shutil.copytree(bundles / "unsigned", tmp_path / "bundle")), tmp_path / "device"
    result = cli("release", bundle, "--key", private, "--name", "cart", "--version", 3)
    assert result.code == 0, result.err
    assert "cart, version 3" in result.out
    assert cli("pack", bundle).code == 0
    for archive in (bundles / "one.zip", tmp_path / "bundle.zip"):
        result = cli("install", archive, "--into", device, "--require-signature", public)
        assert result.code == 0, result.err
    assert "active: cart, version 3" in result.out
    assert "100.0" in result.out
    picture = tmp_path / "x.png"
    Image.fromarray(ramp()).save(picture)
    arguments = ("predict", picture, "--bundle", device, "--runtime", "litert", "--require-signature", public)
    assert cli(*arguments).code == 0
    assert active_temperature(device) == 3.0
    assert open_bundle(device).folder == bundle_in(device)
    result = cli("rollback", device)
    assert result.code == 0
    assert "cart, version 1" in result.out
    assert active_temperature(device) == 1.0
    assert cli("rollback", device).code == 0
    assert active_temperature(device) == 3.0


def test_equal_bundles_are_packed_as_equal_bytes(bundles: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundles / "two", tmp_path / "copy")
    for path in copy.iterdir():
        path.chmod(0o600)
    pack(copy, tmp_path / "copy.zip")
    assert sha256_of(tmp_path / "copy.zip") == sha256_of(bundles / "two.zip")
    # As left by a kill between writing the two files.
    (copy / SIGNATURE).unlink()
    with pytest.raises(ArtifactError, match="interrupted before it was signed; run cxr-edge release again"):
        pack(copy, tmp_path / "other.zip")


def test_a_release_says_what_is_signed(bundles: Path) -> None:
    signed = json.loads((bundles / "two" / RELEASE).read_text())
    assert (signed["name"], signed["version"]) == ("cart", 2)
    files = {entry["file"]: entry for entry in signed["files"]}
    assert set(files) == {"manifest.json", "reference.npz", "xception-int8.onnx", "xception-int8.tflite"}
    for name, entry in files.items():
        assert (entry["sha256"], entry["bytes"]) == (
            sha256_of(bundles / "two" / name),
            (bundles / "two" / name).stat().st_size,
        )
    assert files["xception-int8.onnx"]["verdict"] == "not enough images"


def test_a_version_only_grows(bundles: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundles / "two", tmp_path / "bundle"))
    assert release(bundle, keys[0], "cart", 2).version == 2
    with pytest.raises(OptionError, match="use 3 or higher"):
        release(bundle, keys[0], "cart", 1)
    for name, version in (("../cart", 3), ("a name", 3)):
        with pytest.raises(OptionError, match="the name"):
            release(bundle, keys[0], name, version)


def test_a_release_is_written_through_no_link(bundles: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundles / "two", tmp_path / "bundle"))
    for name in ("release.json", "release.sig"):
        (bundle / name).unlink(missing_ok=True)
        (bundle / name).symlink_to(tmp_path / f"elsewhere {name}")
    release(bundle, keys[0], "cart", 2)
    assert not list(tmp_path.glob("elsewhere*"))
    assert signed_release(bundle, keys[1]).version == 2


@pytest.mark.usefixtures("unproven")
def test_an_older_version_another_model_and_an_unsigned_one_are_refused(
    bundles: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    device = tmp_path / "device"
    other = Path(shutil.copytree(bundles / "unsigned", tmp_path / "other"))
    release(other, keys[0], "ward", 9)
    pack(other, tmp_path / "other.zip")
    install(bundles / "unsigned.zip", device)
    install(bundles / "two.zip", device)
    for archive, reason in ((bundles / "one.zip", "an older one"), (tmp_path / "other.zip", "another model"),
                            (bundles / "unsigned.zip", "no release")):  # fmt: skip
        with pytest.raises(ArtifactError, match=f"{reason}.*--allow-downgrade"):
            install(archive, device)
        assert active_temperature(device) == 2.0
    install(bundles / "one.zip", device, allow_downgrade=True)
    assert active_temperature(device) == 1.0
    # The highest version seen stays the minimum.
    install(bundles / "two.zip", device)
    rollback(device)
    with pytest.raises(ArtifactError, match="an older one"):
        install(bundles / "one.zip", device)


@pytest.mark.usefixtures("unproven")
def test_the_same_bundle_again_changes_nothing_and_a_damaged_one_is_replaced(bundles: Path, tmp_path: Path) -> None:
    device = tmp_path / "device"
    install(bundles / "one.zip", device)
    install(bundles / "two.zip", device)
    before = (device / INSTALLED).read_text()
    install(bundles / "two.zip", device)
    assert (device / INSTALLED).read_text() == before
    (bundle_in(device) / MANIFEST).write_text("{}")
    assert install(bundles / "two.zip", device).previous is not None
    assert active_temperature(device) == 2.0
    rollback(device)
    assert active_temperature(device) == 1.0
    assert len(list((device / "bundles").iterdir())) == 2


def changed_after_signing(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["notice"] = "other"
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def changed_release(bundle: Path) -> None:
    text = (bundle / RELEASE).read_text()
    (bundle / RELEASE).write_text(text.replace('"version": 2', '"version": 7'))


def no_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).unlink()


def other_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).write_bytes(bytes(64))


def short_signature(bundle: Path) -> None:
    (bundle / SIGNATURE).write_bytes(b"")


def not_released(bundle: Path) -> None:
    (bundle / RELEASE).unlink()


SPOILED = [changed_after_signing, changed_release, no_signature, other_signature, short_signature, not_released]


@pytest.mark.slow
@pytest.mark.parametrize("spoil", SPOILED)
def test_what_the_owner_did_not_sign_is_refused_everywhere(
    bundles: Path,
    keys: tuple[Path, Path],
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
) -> None:
    bundle, device = Path(shutil.copytree(bundles / "two", tmp_path / "bundle")), tmp_path / "device"
    spoil(bundle)
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(path, path.name)
    with pytest.raises(ArtifactError):
        install(packed, device, keys[1])
    assert not device.exists()
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", str(keys[1]))
    for arguments in (
        ("predict", "x.png", "--bundle", bundle),
        ("predict", "x.png", "--artifact", bundle / "xception-int8.onnx"),
        ("verify", "--bundle", bundle, "--replay"),
        ("bench", "--bundle", bundle, "--quick"),
        ("inspect", bundle / "xception-int8.tflite"),
        ("evaluate", "--bundle", bundle, "--data", bundle),
    ):
        result = cli(*arguments)
        assert result.code == 2, arguments
        assert "release" in result.err
        assert "Traceback" not in result.err


@pytest.mark.usefixtures("unproven")
def test_rollback_to_an_unsigned_bundle_is_refused(
    bundles: Path, keys: tuple[Path, Path], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(bundles / "unsigned.zip", tmp_path / "device")
    install(bundles / "two.zip", tmp_path / "device", keys[1])
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", str(keys[1]))
    result = cli("rollback", tmp_path / "device")
    assert result.code == 2
    assert "not released" in result.err
    assert active_temperature(tmp_path / "device") == 2.0


@pytest.mark.parametrize("command", ["predict", "verify", "bench", "inspect", "evaluate", "install", "rollback"])
def test_an_empty_name_of_the_required_key_is_refused(
    bundles: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", "")
    bundle = bundles / "two"
    arguments = {
        "predict": ("x.png", "--bundle", bundle),
        "verify": ("--bundle", bundle, "--replay"),
        "bench": ("--bundle", bundle, "--quick"),
        "inspect": (bundle / "xception-int8.onnx",),
        "evaluate": ("--bundle", bundle, "--data", tmp_path),
        "install": (bundles / "two.zip", "--into", tmp_path / "device"),
        "rollback": (tmp_path / "device",),
    }
    result = cli(command, *arguments[command])
    assert result.code == 2
    assert "CXR_EDGE_REQUIRE_SIGNATURE is set and names no file" in result.err
    assert not (tmp_path / "device").exists()
    with pytest.raises(OptionError):
        Classifier.open(bundle / "xception-int8.onnx", "onnx")


def test_a_signed_bundle_is_accepted_where_a_signature_is_required(
    bundles: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", str(keys[1]))
    assert Classifier.open(bundles / "two", "litert", 1).predict(ramp())
    loose = shutil.copy(bundles / "two" / "xception-int8.onnx", tmp_path / "loose.onnx")
    with pytest.raises(ArtifactError, match="not released"):
        Classifier.open(loose, "onnx", 1)
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", str(tmp_path / "absent.pem"))
    with pytest.raises(OptionError, match=r"absent\.pem: not a public key"):
        Classifier.open(bundles / "two", "litert", 1)


def test_an_installation_error_names_the_packed_file(bundles: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"unsigned\.zip: not released") as raised:
        install(bundles / "unsigned.zip", tmp_path / "device", key=keys[1])
    assert "incoming" not in str(raised.value)


@pytest.mark.slow
def test_a_bundle_that_computes_something_else_here_is_not_installed(bundles: Path, tmp_path: Path, cli: Cli) -> None:
    device = tmp_path / "device"
    wrong = write_bundle_with_references(tmp_path / "wrong", 5.0, right=False)
    pack(wrong, tmp_path / "wrong.zip")
    install(bundles / "unsigned.zip", device)
    result = cli("install", tmp_path / "wrong.zip", "--into", device)
    assert result.code == 3
    assert "xception-int8.onnx on ONNX Runtime" in result.err
    with pytest.raises(GateError, match="p90 of one inference"):
        install(bundles / "two.zip", device, max_p90_ms=1e-6)
    assert active_temperature(device) == 3.0
    assert sorted(path.name for path in device.iterdir()) == ["bundles", INSTALLED]


@pytest.mark.parametrize("limit", ["nan", "inf", "0", "-1"])
def test_a_limit_of_latency_that_limits_nothing_is_refused(bundles: Path, tmp_path: Path, cli: Cli, limit: str) -> None:
    result = cli("install", bundles / "unsigned.zip", "--into", tmp_path / "device", "--max-p90", limit)
    assert (result.code, (tmp_path / "device").exists()) == (2, False)
    assert f"--max-p90 {limit}: must be" in result.err


@pytest.mark.slow
@pytest.mark.usefixtures("unproven")
def test_a_limit_of_latency_holds_for_the_active_bundle_too(
    bundles: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Comparing all runtimes takes seconds.
    monkeypatch.setattr(
        "cxr_edge.updates.proof.fastest",
        lambda artifacts, threads: (artifacts[0], runtimes_for(artifacts[0].format)[0], None),
    )
    device = tmp_path / "device"
    first = install(bundles / "unsigned.zip", device)
    too_slow = cli("install", bundles / "unsigned.zip", "--into", device, "--max-p90", 1e-6)
    assert too_slow.code == 3
    assert "more than the 1e-06 ms allowed; it was active already" in too_slow.err
    fast = cli("install", bundles / "unsigned.zip", "--into", device, "--max-p90", 1e6)
    assert (fast.code, bundle_in(device)) == (0, first.folder)


def outside(archive: zipfile.ZipFile) -> None:
    archive.writestr("../evil.onnx", b"x")


def absolute(archive: zipfile.ZipFile) -> None:
    archive.writestr("/tmp/evil.onnx", b"x")


def link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("x.onnx")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


def twice(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(MANIFEST, b"{}")


def program(archive: zipfile.ZipFile) -> None:
    archive.writestr("run.sh", b"rm -r /")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("x.onnx", bytes(1 << 24), zipfile.ZIP_DEFLATED)


def many(archive: zipfile.ZipFile) -> None:
    for index in range(100):
        archive.writestr(f"{index}.onnx", b"")


def more(archive: zipfile.ZipFile) -> None:
    archive.writestr("more.onnx", b"x")


@pytest.mark.parametrize("add", [outside, absolute, link, twice, program, bomb, many, more])
def test_a_zip_with_unexpected_entries_is_refused(
    bundles: Path, tmp_path: Path, add: Callable[[zipfile.ZipFile], None]
) -> None:
    forged = Path(shutil.copy(bundles / "two.zip", tmp_path / "forged.zip"))
    with zipfile.ZipFile(forged, "a") as archive:
        add(archive)
    with pytest.raises(ArtifactError):
        install(forged, tmp_path / "device")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forged.zip"]


@pytest.fixture
def not_a_bundle(tmp_path: Path) -> Path:
    """A zip that can be opened, and is refused later."""
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(MANIFEST, "{}")
    return tmp_path / "bad.zip"


@pytest.mark.usefixtures("unproven")
def test_an_installation_leaves_folders_of_the_user_alone(bundles: Path, tmp_path: Path, not_a_bundle: Path) -> None:
    device = tmp_path / "device"
    own = device / "bundles" / "photographs" / "one.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    for _ in range(2):
        with pytest.raises(ArtifactError):
            install(not_a_bundle, device)
        for name in ("one", "two"):
            install(bundles / f"{name}.zip", device, allow_downgrade=True)
        assert own.read_bytes() == b"mine"
    assert len(list((device / "bundles").iterdir())) == 3


@pytest.mark.usefixtures("unproven")
def test_a_refused_bundle_removes_none_if_the_record_of_the_installed_ones_is_lost(
    bundles: Path, tmp_path: Path, not_a_bundle: Path
) -> None:
    device = tmp_path / "device"
    for name in ("one", "two"):
        install(bundles / f"{name}.zip", device)
    (device / INSTALLED).unlink()
    before = sorted((device / "bundles").rglob("*"))
    assert len(before) > 2
    with pytest.raises(ArtifactError):
        install(not_a_bundle, device)
    assert sorted((device / "bundles").rglob("*")) == before


def test_a_damaged_zip_is_one_clear_error(bundles: Path, tmp_path: Path) -> None:
    content, path = (bundles / "two.zip").read_bytes(), tmp_path / "x.zip"
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 3):
            damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged[: int(rng.integers(1, len(content)))] if rng.random() < 0.3 else damaged))
        with pytest.raises(ArtifactError):
            install(path, tmp_path / "device")
    assert not (tmp_path / "device").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc tells which files are open")
@pytest.mark.usefixtures("unproven")
def test_a_power_loss_at_any_moment_leaves_an_intact_bundle_active(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, device = tmp_path / "before", tmp_path / "device"
    install(bundles / "unsigned.zip", before)
    install(bundles / "one.zip", before)
    power = Power(device)
    seen = []
    for changes in range(200):
        shutil.rmtree(device, ignore_errors=True)
        shutil.copytree(before, device)
        with power.lost_after(changes, monkeypatch):
            install(bundles / "two.zip", device)
        seen.append(active_temperature(device))
        if not power.is_off:
            break
        rollback(device)
        assert active_temperature(device) in (1.0, 3.0)
        install(bundles / "two.zip", device)
        assert active_temperature(device) == 2.0
        assert len(list((device / "bundles").iterdir())) == 2
        assert list(device.glob(".incoming*")) == []
    assert not power.is_off
    assert len(seen) > 30
    # The old one up to a single moment, the new one from then on.
    assert seen == sorted(seen) and set(seen) == {1.0, 2.0}


def test_a_damaged_record_of_what_is_installed_is_refused(tmp_path: Path, cli: Cli) -> None:
    for text in ('{"active": "../..", "previous": null}', "{", "[" * 100_000):
        (tmp_path / INSTALLED).write_text(text)
        with pytest.raises(ArtifactError, match=r"installed\.json: damaged"):
            read_installation(tmp_path)
    assert cli("rollback", tmp_path).code == 2

"""The store of decoded images: each content once, whole after a kill or a full disk, shared by two processes."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.data.layouts import image_files
from cxr_edge.data.store import DecodedImages, ImageStore
from cxr_edge.errors import CacheError
from cxr_edge.imaging import decode
from cxr_edge.imaging.decode import load_image
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.progress import silently
from cxr_edge.runs.history import History
from tests.conftest import Cli
from tests.small_network import SMALL

if TYPE_CHECKING:
    from cxr_edge.training.batches import Batches

#: `python -c` with a folder of images and what to do: small batches, so that there are many commits.
_ADD = """
import os, resource, signal, sys
from pathlib import Path
from cxr_edge.data import store
from cxr_edge.data.layouts import image_files
store._BATCH = 8
seen = []
def on_image():
    seen.append(1)
    if sys.argv[2] == "kill" and len(seen) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (71 * 71 * 20, resource.RLIM_INFINITY))
print("ready", flush=True)
sys.stdin.readline()
store.ImageStore(71, "stretch").add(image_files(Path(sys.argv[1])), on_image, fingerprints=True)
"""


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 15, size=80)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from here on."""
    calls: list[Path] = []
    real = decode.open_grey

    def counted(path: Path, content: bytes | None = None) -> object:
        calls.append(path)
        return real(path, content)

    monkeypatch.setattr(decode, "open_grey", counted)
    return calls


def adding(folder: Path, what: str = "") -> subprocess.Popen[str]:
    """Another process, that waits for a line and then adds the folder's images."""
    command = [sys.executable, "-c", _ADD, str(folder), what]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def assert_whole(folder: Path) -> None:
    """Every image of the folder is there, as it is decoded."""
    paths = image_files(folder)
    store = ImageStore(71, STRETCH)
    digests, bad = store.add(paths)
    assert not bad
    for path, image in zip(paths, store.images(digests), strict=True):
        assert np.array_equal(image[..., 0], load_image(path, 71))


def test_each_content_is_decoded_once(phantoms: Path, tmp_path: Path, decodes: list[Path]) -> None:
    store = ImageStore(71, STRETCH)
    paths = image_files(phantoms)
    seen: list[int] = []
    digests, _ = store.add(paths, lambda: seen.append(1))
    assert len(decodes) == len(seen) == len(paths)
    # The same bytes by another name, in another order, and one image more.
    moved = Path(shutil.copytree(phantoms / "Normal", tmp_path / "moved"))
    shutil.copy(moved / sorted(path.name for path in moved.iterdir())[0], moved / "another name.png")
    write_phantoms(tmp_path / "new", 1, seed=5, size=80)
    others = [*reversed(image_files(moved)), image_files(tmp_path / "new")[0]]
    assert set(ImageStore(71, STRETCH).add(others)[0][:-1]) <= set(digests)
    assert decodes[len(paths) :] == others[-1:]
    assert_whole(phantoms)


def test_rows_are_found_in_any_order_and_form(phantoms: Path) -> None:
    store = ImageStore(71, STRETCH)
    paths = image_files(phantoms)
    digests, _ = store.add(paths)
    images = store.images(digests[::-1])
    assert (len(images), images.shape) == (45, (45, 71, 71, 1))
    whole = np.asarray(images)
    assert whole.dtype == np.uint8
    assert np.array_equal(whole[0, ..., 0], load_image(paths[-1], 71))
    assert np.array_equal(images[3:5], whole[3:5])
    assert np.array_equal(images[np.array([7, 2])], whole[[7, 2]])
    with pytest.raises(ValueError, match="read-only"):
        images.stored[0] = 0


def test_each_size_and_resize_rule_has_its_own_store(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "wide.png"
    decode.Image.fromarray(np.arange(6400, dtype=np.uint32).reshape(40, 160).astype(np.uint8)).save(path)
    for size, resize in ((71, "stretch"), (72, "stretch"), (71, "pad")):
        store = ImageStore(size, resize)
        assert store.lacks(["0" * 64]) == [0]
        (digest,), _ = store.add([path])
        assert np.array_equal(store.images([digest])[0][..., 0], load_image(path, size, resize))
    assert len(list(cache.iterdir())) == 3


def test_missing_fingerprints_are_added_later(phantoms: Path, decodes: list[Path]) -> None:
    store = ImageStore(71, STRETCH)
    paths = image_files(phantoms)[:5]
    store.add(paths)
    digests, _ = store.add(paths, fingerprints=True)
    assert len(decodes) == 10
    assert [fingerprint.sha256 for fingerprint in store.fingerprints(digests)] == digests
    assert np.array_equal(store.fingerprints(digests[3:4])[0].thumbnail, load_image(paths[3], 64))
    decodes.clear()
    store.add(paths, fingerprints=True)
    assert not decodes
    assert store.images(digests).stored.shape[0] == 5


def test_a_bad_file_is_named_and_the_others_are_kept(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    paths = [tmp_path / "text.png", image_files(phantoms)[0], tmp_path / "gone.png", tmp_path]
    digests, bad = ImageStore(71, STRETCH).add(paths)
    assert [bool(digest) for digest in digests] == [False, True, False, False]
    for index, reason in ((0, "not an image"), (2, "no such file"), (3, "directory")):
        assert bad[index].startswith(f"{paths[index]}: ")
        assert reason in bad[index]


@pytest.mark.slow
def test_a_kill_loses_one_batch_at_most(phantoms: Path, decodes: list[Path]) -> None:
    process = adding(phantoms, "kill")
    process.communicate("go\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert_whole(phantoms)
    # 16 of 45 were committed when it came to 20.
    assert len(decodes) == 45 - 16 + 45


@pytest.mark.slow
def test_two_processes_fill_one_store(phantoms: Path) -> None:
    both = [adding(phantoms), adding(phantoms)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert_whole(phantoms)
    assert ImageStore(71, STRETCH).images([]).stored.shape[0] == 45


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_loses_nothing(phantoms: Path, decodes: list[Path]) -> None:
    process = adding(phantoms, "full")
    _, err = process.communicate("go\n", timeout=60)
    assert process.returncode == 1
    assert "CacheError" in err
    assert "disk is full" in err
    assert_whole(phantoms)
    assert len(decodes) == 45 - 16 + 45


@pytest.mark.parametrize("damage", ["short", "gone", "index"])
def test_a_damaged_store_is_refused_and_named(phantoms: Path, cache: Path, cli: Cli, damage: str) -> None:
    store = ImageStore(71, STRETCH)
    digests, _ = store.add(image_files(phantoms)[:9])
    pixels, index = store.folder / "pixels.u8", store.folder / "index.sqlite"
    if damage == "short":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif damage == "gone":
        pixels.unlink()
    else:
        index.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(CacheError, match="remove"):
        store.images(digests)
    result = cli("train", "--data", phantoms, "--weights", "none", "--image-size", 71, "--run", cache / "run")
    assert result.code == 2
    assert str(store.folder) in result.err
    shutil.rmtree(store.folder)
    assert_whole(phantoms)


def test_pixels_without_their_index_are_discarded(phantoms: Path) -> None:
    store = ImageStore(71, STRETCH)
    digests, _ = store.add(image_files(phantoms))
    before = store.images(digests)
    kept = np.asarray(before)
    (store.folder / "index.sqlite").unlink()
    store.add(image_files(phantoms)[40:])
    # A reader that has them open keeps seeing the old ones.
    assert np.array_equal(np.asarray(before), kept)
    assert_whole(phantoms)


def test_overwritten_pixels_are_detected(phantoms: Path) -> None:
    paths, store = image_files(phantoms), ImageStore(71, STRETCH)
    digests = store.add(paths).digests
    with (store.folder / "pixels.u8").open("r+b") as file:
        file.seek(71 * 71 + 100)
        byte = file.read(1)[0]
        file.seek(71 * 71 + 100)
        file.write(bytes([byte ^ 1]))
    images = store.images(digests)
    assert images[0].shape == (71, 71, 1)
    for index in (1, slice(0, 3), np.array([5, 1])):
        with pytest.raises(CacheError, match="changed after they were written"):
            images[index]


def overwritten(images: NDArray[np.uint8], folder: Path) -> Batches:
    """Batches of labelled images in a store, one of which is no longer what was stored."""
    from cxr_edge.training.batches import Batches

    checksums = np.array([zlib.crc32(image) for image in images])
    checksums[1] ^= 1
    stored = DecodedImages(images, np.arange(len(images)), checksums, folder / "pixels.u8")
    return Batches(stored, np.arange(len(images)) % 3, classes=3, batch_size=4, seed=0)


@pytest.mark.slow
def test_a_training_ends_with_the_folder_whose_pixels_were_overwritten(cache: Path, tmp_path: Path) -> None:
    from cxr_edge.training.backend import keras
    from cxr_edge.training.loop import Phase

    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    phase = Phase("x", model, model, 1, validate=pytest.fail, folder=tmp_path)
    images = np.zeros((9, 8, 8, 1), np.uint8)
    with pytest.raises(CacheError, match=re.escape(f"remove {cache},")):
        phase.run(overwritten(images, cache), History(()), lambda text: None, lambda epoch, epochs: None)


@pytest.mark.slow
def test_a_fine_tuning_ends_with_the_folder_whose_pixels_were_overwritten(cache: Path, tmp_path: Path) -> None:
    from cxr_edge.quantization.calibrate import choose_ranges, collect_histograms
    from cxr_edge.quantization.judge import Judge
    from cxr_edge.quantization.learn import learn
    from cxr_edge.quantization.quantized_graph import QuantizedGraph
    from cxr_edge.quantization.student import RangeStudent
    from cxr_edge.quantization.teacher import Teacher
    from tests.graphs import small_graph, some_images

    graph, images = small_graph(), some_images(9)
    ranges = choose_ranges(graph, collect_histograms(graph, images, 9))
    student = RangeStudent(QuantizedGraph(graph, ranges))
    teacher = Teacher(graph)
    judge = Judge(teacher, images)
    with silently("learning", 3) as bar, pytest.raises(CacheError, match=re.escape(f"remove {cache},")):
        learn(student, teacher, overwritten(images, cache), judge, range(3), 1e-3, {}, tmp_path / "x", bar)


@pytest.mark.slow
def test_a_shrinking_ends_with_the_folder_whose_pixels_were_overwritten(cache: Path) -> None:
    from cxr_edge.shrinking.importance import channel_importance
    from cxr_edge.shrinking.inherit import recompute_statistics
    from cxr_edge.training.xception import build_classifier

    model, batches = build_classifier(71, 3, SMALL), overwritten(np.zeros((9, 71, 71, 1), np.uint8), cache)
    with pytest.raises(CacheError, match=re.escape(f"remove {cache},")):
        channel_importance(model, SMALL, batches, 2, lambda: None)
    with pytest.raises(CacheError, match=re.escape(f"remove {cache},")):
        recompute_statistics(model, batches, 2)

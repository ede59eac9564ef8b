"""Writes are all or nothing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_edge.artifacts.bundle import read_manifest
from cxr_edge.benchmarking.record import read_record
from cxr_edge.data.layouts import DataSet
from cxr_edge.data.sources import with_sources
from cxr_edge.data.split import read_split
from cxr_edge.data.table import read_table
from cxr_edge.errors import CacheError, CxrEdgeError
from cxr_edge.evaluation.run_metrics import read_run_metrics
from cxr_edge.exporting.recipe_file import read_recipe
from cxr_edge.files import cache_folder, new_folder, remove_partial_files, replacing, write_json, write_text
from cxr_edge.runs import Run
from cxr_edge.runs.history import read_history
from tests.conftest import Cli


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_json(target, {"old": 1})

    def full_disk() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        full_disk()
    assert target.read_text() == '{\n  "old": 1\n}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_replaces_and_is_readable_by_others(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.txt"
    write_text(target, "one")
    write_text(target, "two")
    assert target.read_text() == "two"
    assert target.stat().st_mode & 0o044 == 0o044


def test_what_is_synced_is_open_for_writing_as_windows_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, []

    def windows_sync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, "Bad file descriptor")
            synced.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", windows_sync)
    write_text(tmp_path / "x.txt", "content")
    assert (tmp_path / "x.txt").read_text() == "content"
    assert len(synced) == 1


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        write_json(pipe, {"a": 1})
        assert reader.communicate(timeout=10)[0] == '{\n  "a": 1\n}\n'
    assert pipe.is_fifo()
    write_json(Path("/dev/null"), {"a": 1})
    assert Path("/dev/null").is_char_device()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_symbolic_link_is_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys; from cxr_edge.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "xception-int8.onnx"
    target.write_text("old")
    (tmp_path / ".hidden").write_text("not ours")
    assert subprocess.run([sys.executable, "-c", code, target]).returncode < 0
    assert len(list(tmp_path.iterdir())) == 3
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", target.name]
    assert target.read_text() == "old"


def test_a_folder_that_a_killed_process_was_filling_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys; from cxr_edge.files import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    (temporary / 'a').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    target = tmp_path / "bundle-cascade"
    assert subprocess.run([sys.executable, "-c", code, target]).returncode < 0
    assert len(list(tmp_path.iterdir())) == 1
    with new_folder(target) as temporary:
        (temporary / "a").write_text("whole")
        remove_partial_files(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == [target]
    assert [path.name for path in target.iterdir()] == ["a"]
    assert (target / "a").read_text() == "whole"


def test_a_new_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page"
    synced, fsync = [], os.fsync

    def recorded(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, target.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    with new_folder(target) as temporary:
        (temporary / "model").mkdir()
        (temporary / "model" / "a").write_text("whole")
    before, after = ({inode for inode, exists in synced if exists is named} for named in (False, True))
    assert before == {path.stat().st_ino for path in (target, target / "model", target / "model" / "a")}
    assert after == {tmp_path.stat().st_ino}


def test_a_file_name_that_is_not_utf_8_round_trips_through_a_record(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    write_json(tmp_path / "x.json", {"file": name})
    content = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert os.fsencode(json.loads(content)["file"]) == b"\xff\xfe.png"


def test_a_user_without_a_home_is_told_to_name_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CXR_EDGE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(CacheError, match="CXR_EDGE_CACHE"):
        cache_folder()


READERS: dict[str, Callable[[Path], object]] = {
    "recipe.toml": lambda path: read_recipe(str(path)),
    "run.json": lambda path: Run(path.parent).config(),
    "labels.csv": lambda path: read_table(path, ("path", "label")),
    "split.csv": lambda path: read_split(path, path.parent, ("Normal",)),
    "images.metadata.xlsx": lambda path: with_sources(DataSet(path.parent, ("Normal",), (), {}, ())),
    "manifest.json": lambda path: read_manifest(path.parent),
    "bench.json": read_record,
    "metrics.json": read_run_metrics,
    "history.json": read_history,
}


@pytest.mark.parametrize("name", [*READERS, "config.toml"])
@pytest.mark.parametrize("kind", ["device", "pipe", "huge"])
def test_endless_files_are_refused(tmp_path: Path, cli: Cli, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(200 << 30)
    if name == "config.toml":
        result = cli("train", "--config", path)
        assert result.code == 2
        assert "config.toml" in result.err
        return
    with pytest.raises(CxrEdgeError):
        READERS[name](path)

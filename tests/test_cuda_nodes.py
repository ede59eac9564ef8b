"""Stand-ins for CUDA's libraries: every function that a provider calls exists and reports success."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cuda_nodes.stand_in import build_stand_ins, functions_of

pytestmark = pytest.mark.skipif(not all(map(shutil.which, ("gcc", "nm", "objdump"))), reason="needs gcc and binutils")

PROVIDER = """
int cudaMalloc(void **, unsigned long);
int cudaSomethingNew(int);
const char loaded_by_name[] = "\\0cudnnSomethingNew\\0";
int start(void) {
    void *memory = 0;
    return cudaMalloc(&memory, 8) || !memory || cudaSomethingNew(1);
}
"""
LIBRARY = "libcudart.so.13"


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """A shared library that calls one function that a stand-in is written for, and one that is unknown."""
    (tmp_path / "library.c").write_text("int cudaMalloc() { return 1; } int cudaSomethingNew() { return 1; }")
    (tmp_path / "library.map").write_text(f"{LIBRARY} {{ global: *; }};")
    (tmp_path / "provider.c").write_text(PROVIDER)
    shared = ["gcc", "-w", "-shared", "-fPIC", "-o"]
    versioned = [f"-Wl,-soname,{LIBRARY}", f"-Wl,--version-script,{tmp_path / 'library.map'}"]
    subprocess.run([*shared, LIBRARY, "library.c", *versioned], cwd=tmp_path, check=True)
    subprocess.run([*shared, "provider.so", "provider.c", LIBRARY], cwd=tmp_path, check=True)
    return tmp_path / "provider.so"


def test_functions_are_sought_in_the_library_that_has_them(provider: Path) -> None:
    assert functions_of(provider) == {
        LIBRARY: {"cudaMalloc", "cudaSomethingNew"},
        "libcudnn.so.9": {"cudnnSomethingNew"},
    }


def test_a_provider_starts_with_the_stand_ins(provider: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    build_stand_ins(provider, folder)
    start = f"import ctypes; raise SystemExit(ctypes.CDLL({str(provider)!r}).start())"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    assert subprocess.run([sys.executable, "-c", start], env=environment).returncode == 0

"""Libraries in place of CUDA's, with which ONNX Runtime's CUDA provider starts a session on a machine without a GPU."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")
#: The driver's functions have no version, and cuDNN is loaded by name, each of its functions too.
_DRIVER, _CUDNN = "libcuda.so.1", "libcudnn.so.9"
_CUDNN_FUNCTION = re.compile(rb"(?<=\0)cudnn[A-Z]\w+(?=\0)")


def functions_of(provider: Path) -> dict[str, set[str]]:
    """What a provider's shared library calls, by the library that should have it. Needs `nm`."""
    listed = subprocess.run(["nm", "-D", "--undefined-only", str(provider)], capture_output=True, text=True, check=True)
    functions: dict[str, set[str]] = defaultdict(set)
    for line in listed.stdout.splitlines():
        name, _, library = line.split()[-1].partition("@")
        if library.startswith("libcu"):
            functions[library].add(name)
        elif not library and name.startswith("cu"):
            functions[_DRIVER].add(name)
    functions[_CUDNN] = {name.decode() for name in _CUDNN_FUNCTION.findall(provider.read_bytes())}
    for library in _needed(provider):
        functions.setdefault(library, set())
    return functions


def _needed(provider: Path) -> list[str]:
    """CUDA's libraries without which the provider is not loaded, even those of which it calls nothing."""
    listed = subprocess.run(["objdump", "-p", str(provider)], capture_output=True, text=True, check=True)
    return re.findall(r"NEEDED\s+(libcu\S+)", listed.stdout)


def build_stand_ins(provider: Path, folder: Path) -> None:
    """Write a library for each of CUDA's that a provider needs. Needs `gcc`."""
    own = _SOURCE.read_text(encoding="utf-8")
    defined = set(re.findall(r"^[\w ]+[ *](cu\w+)\(", own, re.MULTILINE))
    for library, names in functions_of(provider).items():
        source, versions = folder / f"{library}.c", folder / f"{library}.map"
        others = "\n".join(f"long {name}(void) {{ return 0; }}" for name in sorted(names - defined))
        source.write_text(f"{own}\n{others}\n", encoding="utf-8")
        versions.write_text(f"{library} {{ global: *; }};\n", encoding="utf-8")
        built = ["-o", str(folder / library), str(source), f"-Wl,-soname,{library}", f"-Wl,--version-script,{versions}"]
        subprocess.run(["gcc", "-w", "-shared", "-fPIC", *built], check=True)

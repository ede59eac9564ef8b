"""The layout's promises: a tier per folder, one direction between packages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cxr_edge

PACKAGE = Path(cxr_edge.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
#: Folders of `cxr_edge` by tier: the device runs without TensorFlow, SciPy and matplotlib, analysis without TensorFlow.
TIERS = {
    "device": {
        "artifacts", "benchmarking", "cli", "data", "evaluation", "imaging", "inspection", "phantoms", "prediction",
        "reporting/card", "reporting/terminal", "runs", "runtimes", "structure", "updates", "web",
    },
    "analysis": {"auditing", "copies", "reporting/html", "statistics"},
    "workshop": {"exporting", "lowering", "quantization", "shrinking", "training"},
}  # fmt: skip
_TENSORFLOW = {"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "tf2onnx", "onnx"}
BLOCKED = {"device": {*_TENSORFLOW, "scipy", "sklearn", "matplotlib", "pandas", "jinja2"}, "analysis": _TENSORFLOW}


def modules_of(folder: str) -> list[str]:
    """Dotted names of the modules in a folder; `reporting` itself has none but its subfolders'."""
    paths = sorted((PACKAGE / folder).glob("*.py"))
    return [f"cxr_edge.{folder.replace('/', '.')}.{path.stem}".removesuffix(".__init__") for path in paths]


def test_every_folder_has_a_tier() -> None:
    folders = {path.relative_to(PACKAGE).parent.as_posix() for path in PACKAGE.rglob("*.py")} - {".", "reporting"}
    assert folders == set().union(*TIERS.values())


def test_the_architecture_page_has_each_folder_in_its_tier_and_each_module_at_the_root() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|[^|]+\|(?: (\w+) \|)?$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name: tier for cell, tier in rows for name in re.findall(r"`([\w/.]+)`", cell)}
    folders = {f"{folder}/": tier for tier, folders in TIERS.items() for folder in folders}
    assert named == {**folders, **dict.fromkeys((path.name for path in PACKAGE.glob("*.py")), "")}


@pytest.mark.slow
@pytest.mark.parametrize("tier", BLOCKED)
def test_a_tier_imports_without_the_libraries_of_the_tiers_above(tier: str) -> None:
    names = [name for folder in sorted(TIERS[tier]) for name in modules_of(folder)]
    code = f"""
import importlib, importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED[tier]!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Block())
for name in {names!r}:
    importlib.import_module(name)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def _imported(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported when a module is, not those that a function imports when it is called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imported(node)


#: The most lines of a class and of a function.
MAX_LINES = {ast.ClassDef: 150, ast.FunctionDef: 60}


def test_classes_and_functions_fit_on_a_page() -> None:
    long = {
        f"{path.relative_to(PACKAGE).as_posix()}:{node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_LINES[type(node)]
    }
    assert not long, "split these, each on its own seam"


#: Names that say how a thing came about and not what it is; CONTRIBUTING.md has more.
VAGUE = {"found", "one", "chosen", "given", "got", "told", "said"}
#: Folders of the repository that have Python files of ours.
SOURCES = ("benchmarks", "cxr_edge", "documentation", "examples", "tests", "web")


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and names of variables, arguments, functions and classes."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name))
                | ast.alias(asname=str(name))
            ):
                yield node.lineno, name


@pytest.mark.slow
def test_things_are_named_for_what_they_are() -> None:
    vague = [
        f"{path.relative_to(PACKAGE.parent).as_posix()}:{line}: {name}"
        for folder in SOURCES
        for path in sorted((PACKAGE.parent / folder).rglob("*.py"))
        if "node_modules" not in path.parts
        for line, name in _names(ast.parse(path.read_text(encoding="utf-8")))
        if name.strip("_") in VAGUE
    ]
    assert not vague, "name each for what it is, such as artifact, interval or message"


def test_few_dicts_of_anything_are_left() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    assert sum(text.count("dict[str, Any]") for text in texts) < 12, "what flows between parts is a dataclass"


def test_no_two_packages_import_each_other() -> None:
    packages = sorted(set().union(*TIERS.values()))
    graph: dict[str, set[str]] = {}
    for package in packages:
        graph[package] = set()
        for path in (PACKAGE / package).glob("*.py"):
            for module in _imported(ast.parse(path.read_text(encoding="utf-8"))):
                place = module.removeprefix("cxr_edge.").replace(".", "/")
                graph[package] |= {
                    other
                    for other in packages
                    if other != package and (place + "/").startswith(other + "/") and module.startswith("cxr_edge.")
                }

    def path_back(start: str, at: str, seen: list[str]) -> list[str] | None:
        for following in sorted(graph[at]):
            if following == start:
                return [*seen, at, start]
            if following not in seen and (way := path_back(start, following, [*seen, at])):
                return way
        return None

    ways = [way for package in packages if (way := path_back(package, package, []))]
    assert not ways, "; ".join(" -> ".join(way) for way in ways)


#: What the console has for others than commands: to hold back what native libraries write, and to ask whether to.
FOR_ALL = {"quiet", "is_verbose"}


def test_progress_is_shown_by_commands_alone() -> None:
    showing = {
        f"{path.relative_to(PACKAGE).as_posix()}: {name}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "reporting")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "cxr_edge.console"
        for name in {alias.name for alias in node.names} - FOR_ALL
    }
    assert not showing, "take a Stage as an argument"

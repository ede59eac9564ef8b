"""The documentation: what is generated is not stale, every page is in the navigation, and each link leads somewhere."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from documentation.pages import generated_pages

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "MODEL_CARD.md")] + sorted(
    DOCS.rglob("*.md")
)


def test_generated_pages_are_up_to_date() -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generated_pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "python -m documentation writes them again"


def test_no_command_page_is_left_of_a_command_that_is_gone() -> None:
    assert set((DOCS / "commands").iterdir()) <= set(generated_pages())


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    listed = set(re.findall(r"[\w/-]+\.md", navigation))
    assert listed == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda path: path.name)
def test_a_shown_command_exists_with_its_options(page: Path) -> None:
    known = {
        path.stem: set(re.findall(r"`(--?[a-z0-9-]+)`", path.read_text(encoding="utf-8")))
        for path in (DOCS / "commands").glob("*.md")
    }
    for typed in re.findall(r"cxr-edge ([a-z]+)([^`\n#&|]*)", _unbroken(page)):
        command, rest = typed
        if command in known:
            assert set(re.findall(r"(?<!\S)--[a-z0-9-]+", rest)) <= known[command] | {"--help"}, f"{page.name}: {typed}"


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda path: path.name)
def test_a_shown_benchmark_exists_with_its_options(page: Path) -> None:
    for module, rest in re.findall(r"python -m (benchmarks\.[a-z_0-9]+)([^`\n#&|]*)", _unbroken(page)):
        path = ROOT / module.replace(".", "/")
        source = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
        known = set(re.findall(r'add_argument\(\s*"(--[a-z0-9-]+)"', source))
        assert set(re.findall(r"(?<!\S)--[a-z0-9-]+", rest)) <= known, f"{page.name}: {module}{rest}"


def _unbroken(page: Path) -> str:
    """A page's text with each command on one line."""
    return re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", re.findall(r"^::: (\S+)$", (DOCS / "python-reference.md").read_text("utf-8"), re.M))
def test_the_python_reference_describes_parameters_by_their_names(name: str) -> None:
    """`make docs` refuses any other, but needs packages that the tests do not have."""
    documented = pkgutil.resolve_name(name)
    functions = (
        dict(inspect.getmembers(documented, inspect.isroutine)) if inspect.isclass(documented) else {"": documented}
    )
    for function in functions.values():
        described = re.search(r"^Args:\n((?: {4}.*\n?)+)", inspect.getdoc(function) or "", re.M)
        if described:
            parameters = re.findall(r"^ {4}([^ :][^:]*): ", described[1], re.M)
            assert parameters and set(parameters) <= set(inspect.signature(function).parameters), parameters


#: Phrases of the table of names to avoid in CONTRIBUTING.md that are never right in a text for users.
AVOIDED = re.compile(
    r"\b(mend(s|ed)?|gone on with|go on with|a (class|file|folder) a (class|file|folder)|in force|into force"
    r"|otherwise than|told as|is to be seen|anew|in silence|are no numbers)\b"
)


def _shown_strings(source: Path) -> Iterator[str]:
    text = source.read_text(encoding="utf-8")
    if not AVOIDED.search(text):
        return
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = list(ast.walk(ast.parse(text)))
    # A command's docstring is its help.
    docstrings = {id(node.body[0].value) for node in nodes if isinstance(node, documented) and _has_docstring(node)}
    for node in nodes:
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and (id(node) not in docstrings or source.parent.name == "cli"):
            yield str(node.value)


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return bool(node.body) and isinstance(node.body[0], ast.Expr)


def test_no_text_for_users_has_a_phrase_to_avoid() -> None:
    package = ROOT / "cxr_edge"
    texts = [(page, page.read_text(encoding="utf-8")) for page in PAGES if page.name != "CONTRIBUTING.md"]
    texts += [(page, page.read_text(encoding="utf-8")) for page in package.rglob("*.j2")]
    texts += [(source, text) for source in package.rglob("*.py") for text in _shown_strings(source)]
    assert not [f"{path.name}: {phrase[0]}" for path, text in texts for phrase in AVOIDED.finditer(text)]

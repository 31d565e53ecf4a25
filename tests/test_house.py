"""The plan of the house: imports run one way, and no file or function grows out of sight."""

import ast
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "ganlab"
FLOORS = (
    {"errors"},
    {"files", "machine", "notebooks"},
    {"choices"},
    {"presets", "priors", "quantiles", "combinations", "config"},
    {"data", "recipe"},
    {"networks"},
    {"run"},
    {"latents"},
    {"scoring"},
    {"training"},
    {"study"},
    {"figures"},
    {"explorer", "progress"},
    {"bench"},
    {"report", "site"},
    {"cli"},
    {"__main__"},
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[0]


def imported(tree: ast.AST) -> set[str]:
    """Rooms of the package that a module imports, anywhere in it; not what only a type checker sees."""
    hidden = set(chain.from_iterable(ast.walk(node) for node in ast.walk(tree) if is_for_types(node)))
    found = set()
    for node in ast.walk(tree):
        if node in hidden or not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("ganlab"):
            continue
        below = node.module.removeprefix("ganlab").lstrip(".")
        found |= {room(below)} if below else {alias.name for alias in node.names if alias.name in FLOOR}
    return found


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_down(path: Path):
    here = path.relative_to("ganlab").parts[0].removesuffix(".py")
    if here == "__init__":
        return
    climbs = [name for name in imported(ast.parse((ROOT / path).read_text())) if FLOOR[name] > FLOOR[here]]
    assert climbs == []


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for name in edges.get(waiting.pop(), set()) - seen:
                seen.add(name)
                waiting.append(name)
        return seen

    return [name for name in edges if name in reached(name)]


def test_no_module_imports_itself_by_way_of_others():
    edges = {}
    for path in MODULES:
        if path.name == "__init__.py":
            continue
        tree = ast.parse((ROOT / path).read_text())
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        edges[".".join(path.with_suffix("").parts)] = {name for name in names if name.startswith("ganlab.")}
    types_only = {("ganlab.combinations", "ganlab.config")}
    edges = {name: {other for other in found if (name, other) not in types_only} for name, found in edges.items()}
    assert circles(edges) == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_file_over_350_lines_and_no_function_over_60(path: Path):
    text = (ROOT / path).read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = [node.name for node in functions if node.end_lineno - node.lineno >= 60]
    assert long == []
    assert text.count("\n") <= 350


@pytest.mark.parametrize("words", [["-c", "import ganlab"], ["-m", "ganlab", "--help"]])
def test_importing_and_helping_load_no_torch(words):
    command = [sys.executable, "-X", "importtime", *words]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert " torch" not in said and " numpy" not in said

"""Lengths of functions and files, and import circles, read from the sources alone. For house.py."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("vae_core", "nodes", "headless", "batch", "cli", "training")


def measure_structure(folder: Path) -> dict[str, float]:
    """Lines of functions and files of the product, and how many groups of modules import each other in a circle."""
    paths = [folder / "__init__.py", *(path for top in PACKAGES for path in sorted((folder / top).rglob("*.py")))]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    lengths = sorted(length for tree in trees.values() for length in function_lengths(tree))
    return {
        "lines of a function: median": statistics.median(lengths),
        "lines of a function: 90th percentile": statistics.quantiles(lengths, n=10)[-1],
        "lines of a function: most": lengths[-1],
        "lines of a file: most": max(len(path.read_text(encoding="utf-8").splitlines()) for path in paths),
        "import circles": len(find_circles(read_imports(trees, folder))),
    }


def function_lengths(tree: ast.Module) -> Iterator[int]:
    """Lines of every function and method, from `def` to its last line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def read_imports(trees: dict[Path, ast.Module], root: Path) -> dict[Path, set[Path]]:
    """File -> the files of the pack it imports; imports inside functions count, those of a type checker too."""
    return {path: {found for found in imported_files(path, tree, root) if found in trees} - {path}
            for path, tree in trees.items()}  # fmt: skip


def imported_files(path: Path, tree: ast.Module, root: Path) -> Iterator[Path]:
    """`from .a import b` is a/b.py or a/b/__init__.py where there is such a module, otherwise a's own file."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for alias in node.names:
            yield find_module(base / alias.name) or find_module(base) or base


def find_module(path: Path) -> Path | None:
    """The file of a module: path.py, or the __init__.py of a package."""
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def find_circles(imports: dict[Path, set[Path]]) -> list[set[Path]]:
    """Groups of modules each of which reaches every other by imports (strongly connected, larger than one)."""
    reached = {path: reach(path, imports) for path in imports}
    circles = {frozenset(other for other in reached[path] if path in reached[other]) for path in imports}
    return [set(circle) for circle in circles if len(circle) > 1]


def reach(start: Path, imports: dict[Path, set[Path]]) -> set[Path]:
    """All modules that importing one brings in, by however many steps."""
    reached: set[Path] = set()
    waiting = [start]
    while waiting:
        for path in imports[waiting.pop()] - reached:
            reached.add(path)
            waiting.append(path)
    return reached

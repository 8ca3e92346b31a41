"""Docstrings of what is public: three or more arguments are described one by one, and so is what is returned."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT) for package in ("acf_jax", "datasets") for path in ROOT.glob(f"{package}/**/*.py")
)


def public_functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """Functions of a module and methods of its classes by name, without those that `_` makes private."""
    found = {}
    for node in tree.body:
        for function in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{node.name}.{function.name}" if function is not node else node.name] = function
    return {name: function for name, function in found.items() if not re.search(r"(^|\.)_", name)}


def arguments(function: ast.FunctionDef) -> list[str]:
    """Names of a function's arguments, as its docstring writes them, without `self` and `cls`."""
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    starred = [stars + argument.arg for stars, argument in (("*", given.vararg), ("**", given.kwarg)) if argument]
    return [name for name in names + starred if name not in ("self", "cls")]


def own_nodes(function: ast.FunctionDef) -> list[ast.AST]:
    """All below a function but what is in functions inside it."""
    found, waiting = [], list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return found


def sections(docstring: str) -> dict[str, str]:
    """What stands below each heading of a docstring, at the indentation of its lines."""
    parts = re.split(r"^(Args|Returns|Yields|Raises):[ ]*$", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def faults(function: ast.FunctionDef) -> list[str]:
    """What the docstring of a function with three or more arguments lacks."""
    names = arguments(function)
    if len(names) < 3 or any(getattr(mark, "id", "") == "overload" for mark in function.decorator_list):
        return []
    written = sections(ast.get_docstring(function) or "")
    described = set()
    for line in re.findall(r"^ {4}([^\s:][^:\n]*):", written.get("Args", ""), re.MULTILINE):
        described |= {name.strip().strip("`") for name in line.split(",")}
    lacking = [f"{name} is not in Args" for name in names if name not in described]
    lacking += [f"{name} is no argument" for name in sorted(described - set(names))]
    nodes = own_nodes(function)
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes)
    returns = any(isinstance(node, ast.Return) and node.value is not None for node in nodes)
    if (returns or yields) and not written.keys() & {"Returns", "Yields"}:
        lacking.append("no Returns or Yields")
    return lacking


def docstrings(tree: ast.Module) -> list[str]:
    """All of a module."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_public_functions_describe_arguments_and_results(path):
    tree = ast.parse((ROOT / path).read_text())
    found = [f"{name}: {fault}" for name, function in public_functions(tree).items() for fault in faults(function)]
    found += ["double backticks" for text in docstrings(tree) if "``" in text.replace("```", "")]
    assert not found, "\n".join(found)


NAMELESS = ["a is not in Args", "b is not in Args", "c is not in Args"]


@pytest.mark.parametrize(
    ("signature", "docstring", "last", "expected"),
    [
        ("a, b", "Short.", "return a", []),
        ("self, a, b", "Short.", "return a", []),
        ("a, b, *, c", "Short.", "pass", NAMELESS),
        ("a, b, c", "F.\n\nArgs:\n    a, b: both.\n    c: other: this.", "pass", []),
        ("a, b, c", "F.\n\nArgs:\n    a, b, c: all.\n\nYields:\n    a.", "yield a", []),
        ("a, b, c", "F.\n\nArgs:\n    a, b, c: all.\n        more: of it.", "yield a", ["no Returns or Yields"]),
        ("a, *b, **c", "F.\n\nArgs:\n    a, *b, **c: all.\n    d: none.", "def g(): return a", ["d is no argument"]),
    ],
)
def test_what_counts_as_a_fault(signature, docstring, last, expected):
    assert faults(ast.parse(f"def f({signature}):\n    {docstring!r}\n    {last}").body[0]) == expected

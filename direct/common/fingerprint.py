"""A fingerprint of the code that makes a number, module by module.

A module's fingerprint is a hash of its syntax tree, without comments and docstrings. Which modules
count is found by following imports from those that do the work, also imports inside functions, so
that a new module is never forgotten. `MECHANICS` are left out: they move bytes and words, and
decide about no number.
"""

from __future__ import annotations

import ast
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from .files import digest

PACKAGE = Path(__file__).parent.parent  # direct/
EXTENSION = PACKAGE / "_C.abi3.so"
MECHANICS = (
    "direct.common.device",
    "direct.common.errors",
    "direct.common.files",
    "direct.common.fingerprint",
    "direct.common.manifest",
    "direct.common.memory",
    "direct.common.preempt",
    "direct.common.progress",
    "direct.common.ranks",
    "direct.common.spent",
    "direct.common.text",
    "direct.config",  # their values are in a cell's name
    "direct.identity",
    "direct.profiles",
    "direct.settings",
    "direct.valid",
    "direct.plugins",  # the content of those that are used is in a cell's name
    "direct.plugins.carried",
    "direct.plugins.files",
    "direct.plugins.guard",
    "direct.plugins.registry",
    "direct.loss.__main__",
    "direct.loss.checks",
    "direct.loss.machine_code",
    "direct.models.clip",  # of what a person looks at, and nothing judges
    "direct.models.hub",
    "direct.train.reference_cache",
    "direct.train.trackers",
    "direct.train.trajectory",
    "direct.train.watch",
)


@cache
def fingerprint(*roots: str) -> dict[str, str]:
    """{module: 8 hex digits} of all that these modules import, themselves included.

    "csrc" stands for the compiled extension, by its sources; "none" where there is none.
    """
    found, queue = set(), list(roots)
    while queue:
        module = queue.pop()
        if module in found or not (path := _path(module)):
            continue
        found.add(module)
        queue += _imports(module, path)
    kept = sorted(name for name in found if name not in MECHANICS and (path := _path(name)))
    own = {name: _tree_digest(_path(name)) for name in kept}
    return own | ({"csrc": _extension()} if "direct.loss" in own else {})


def code(*roots: str) -> str:
    """12 hex digits of the whole `fingerprint`."""
    return digest(fingerprint(*roots))


def definition(path: Path, name: str) -> str | None:
    """12 hex digits of a function at the top level of a file; None where there is none.

    They cover its own code and all that it reads by name in that file, in the end: other functions,
    values, imports, and what the file does besides defining things. Of a module that lies beside
    the file and is imported, the whole file counts, and what that imports. Packages do not.
    """
    try:
        parts = _used_files(Path(path).resolve(), name, {})
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    return digest(sorted(parts.values())) if parts else None


def _used_files(path: Path, name: str | None, known: dict[Path, str]) -> dict[Path, str]:
    """{file: digest of what is used of it}; name: of one definition, None of all."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if name is not None:
        if not any(name in (_bound(node) or ()) for node in body):
            return known
        body = _used_statements(body, name)
    known[path] = digest(repr(_plain(body)), 64)
    for node in (inner for outer in body for inner in ast.walk(outer)):
        for other in _beside(path.parent, node):
            if other not in known:
                _used_files(other, None, known)
    return known


def _used_statements(body: list[ast.stmt], name: str) -> list[ast.stmt]:
    """The statements that a definition is made of: what it reads, and what no name stands for."""
    wanted, kept, grew = {name, "*"}, set[int](), True
    while grew:
        grew = False
        for place, node in enumerate(body):
            names = _bound(node)
            if place in kept or not (names is None or names & wanted):
                continue
            wanted |= {x.id for x in ast.walk(node) if isinstance(x, ast.Name)}
            kept.add(place)
            grew = True
    return [body[place] for place in sorted(kept)]


def _bound(node: ast.stmt) -> set[str] | None:
    """The names that a statement defines; None for one that does something else as well."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        inner = [x for target in targets for x in ast.walk(target)]
        return {x.id for x in inner if isinstance(x, ast.Name)}
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return set()  # a docstring
    return None


def _beside(folder: Path, node: ast.AST) -> list[Path]:
    """The files in a user's folder that an import names; this project's own are not among them."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = [node.module] if node.module else []
        names = [".".join([*base, *more]) for more in ([], *([x.name] for x in node.names))]
        folder = folder.joinpath(*[".."] * max(0, node.level - 1)).resolve()
    else:
        return []
    found = []
    for name in names:
        parts = name.split(".")
        if not name or parts[0] in (PACKAGE.name, "sweeps"):
            continue
        both = folder.joinpath(*parts, "__init__.py"), folder.joinpath(*parts).with_suffix(".py")
        found += [path for path in both if path.is_file()]
    return found


def _path(module: str) -> Path | None:
    """The file of a module of this package; None for anything else, and for empty packages."""
    package, *rest = module.split(".")
    if package != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*rest)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path if path.stat().st_size else None
    return None


def _imports(module: str, path: Path) -> list[str]:
    """The modules that a file may import: of `from a import b` both a and a.b."""
    package = module.split(".")[: None if path.name == "__init__.py" else -1]
    found: list[str] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found += [source, *(f"{source}.{name.name}" for name in node.names)]
    return ["direct.loss" if name == "direct.velocity_loss" else name for name in found]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _tree_digest(path: Path) -> str:
    return hashlib.sha256(repr(_plain(_tree(path))).encode()).hexdigest()[:8]


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples, without docstrings, places, and what is empty.

    What is empty is left out since later versions of Python have more fields, empty in old code.
    """
    if isinstance(node, list):
        return tuple(_plain(item) for item in node)
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        fields["body"] = node.body[ast.get_docstring(node, clean=False) is not None :]
    kept = [(name, _plain(value)) for name, value in fields.items() if value not in (None, [])]
    return (type(node).__name__, *kept)


@cache
def _extension() -> str:
    """The hash of csrc/ that setup.py wrote into the library, read without loading it."""
    if not EXTENSION.is_file():
        return "none"
    found = re.search(rb"direct-sources:([0-9a-f]{8})", EXTENSION.read_bytes())
    return found[1].decode() if found else "unknown"

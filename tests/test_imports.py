"""The import contract: layers, no circle, and who may know what. A violation names the two files.

Imports inside functions count: they hide a circle, they do not undo it. docs/architecture.md says
what each layer is.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
METHOD = (
    "config",
    "explain",
    "extension",
    "flow",
    "identity",
    "loss",
    "noise",
    "plugins",
    "profiles",
    "sampling",
    "settings",
    "valid",
)
LAYERS = (  # a file imports its own layer and those above it in this list
    ("direct.common",),
    tuple(f"direct.{name}" for name in METHOD),
    ("direct.negatives",),
    ("direct.models",),
    ("direct.world",),
    ("direct.data",),
    ("direct.prepare",),
    ("direct.train",),
    ("direct.evaluate",),
    ("direct.measure",),
    ("direct.base",),
    ("direct.generate", "direct.peers", "direct.plan", "direct.velocity_loss", "direct.__main__"),
    (
        "sweeps.paper",
        "sweeps.paper_claims",
        "sweeps.stats",
        "sweeps.coverage",
        "sweeps.rounds",
        "sweeps.rounds_coverage",
    ),
    ("sweeps.schema", "sweeps.search", "sweeps.result_check"),
    ("sweeps.paper_ablations",),
    ("sweeps.mechanism_ablations",),
    ("sweeps.negatives_ablations",),
    ("sweeps.ablations",),
    ("sweeps.experiments",),
    ("sweeps.own_tables", "sweeps.grid"),
    ("sweeps.stages", "sweeps.cell", "sweeps.results", "sweeps.archive"),
    ("sweeps.contrasts", "sweeps.mechanism_claims", "sweeps.readings", "sweeps.table"),
    ("sweeps.tables",),
    ("sweeps.claims",),
    ("sweeps.control",),
    ("sweeps.queue",),
    ("sweeps.checks", "sweeps.options", "sweeps.work"),
    ("sweeps.planning", "sweeps.folders"),
    ("sweeps.report",),
    ("sweeps.reports",),
    ("sweeps.run", "sweeps.power", "sweeps.__main__"),
)
KNOW_THE_WORLD = (
    "direct.data.source",
    "direct.evaluate.judge",
    "direct.base",
    "sweeps.report.clips",
)


def sources():
    """{module: file} of the two packages."""
    found = {}
    for path in sorted([*(ROOT / "direct").rglob("*.py"), *(ROOT / "sweeps").rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def named_in(module, path, known):
    """The project's modules that a file names in imports, anywhere in it, found or not."""
    package = module.split(".")[: None if path.name == "__init__.py" else -1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                inside = f"{source}.{name.name}"
                inside = "direct.loss" if inside == "direct.velocity_loss" else inside  # PEP 562
                found.add(inside if inside in known else source)
    return {name for name in found if name.split(".")[0] in ("direct", "sweeps")}


def imports_of(module, path, known):
    return {x for x in named_in(module, path, known) if x in known} - {module, "direct", "sweeps"}


def unknown(module, path):
    return sorted(named_in(module, path, FILES) - set(FILES))


FILES = sources()
GRAPH = {module: imports_of(module, path, FILES) for module, path in FILES.items()}


def layer_of(module):
    """The layer's place in `LAYERS`; the packages' own `__init__` import nothing and have none."""
    for place, layer in enumerate(LAYERS):
        if any(module == name or module.startswith(f"{name}.") for name in layer):
            return place
    return None


def upward(graph):
    return [
        f"{a} imports {b}, which is a layer above it"
        for a in graph
        for b in sorted(graph[a])
        if layer_of(b) > layer_of(a)
    ]


def circle_in(graph):
    """The modules of one circle, in order; empty where there is none."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for other in sorted(graph.get(module, ())):
            if found := visit(other):
                return found
        path.pop()
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module))), [])


def test_every_file_has_a_layer():
    homeless = [
        name for name in FILES if layer_of(name) is None and name not in ("direct", "sweeps")
    ]
    assert not homeless, f"no layer of tests/test_imports.py holds {homeless}"


@pytest.mark.slow
def test_every_import_is_found():
    """A wrong number of dots, which type checkers take for a package without types."""
    others = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").rglob("*.py")]
    files = FILES | {str(path.relative_to(ROOT)): path for path in others}
    lost = [f"{a} imports {b}" for a, path in files.items() for b in unknown(a, path)]
    assert not lost


def test_no_import_runs_upwards():
    assert not upward({a: GRAPH[a] for a in GRAPH if layer_of(a) is not None})


def test_there_is_no_circle():
    assert not circle_in(GRAPH), "a circle: " + " -> ".join(circle_in(GRAPH))


def test_the_method_does_not_know_the_world():
    """What clips show is for their source and their judge to know; the method learns latents."""
    knowing = [
        f"{a} imports {b}"
        for a in GRAPH
        for b in sorted(GRAPH[a])
        if b.startswith("direct.world") and not a.startswith(("direct.world", *KNOW_THE_WORLD))
    ]
    assert not knowing


@pytest.mark.parametrize("path", sorted((ROOT / "csrc").iterdir()), ids=lambda path: path.name)
def test_kernels_do_not_know_torch(path):
    """The bindings alone do: kernels compile, and are tested, without it."""
    found = re.findall(r'#include\s*[<"](?:torch|ATen|c10|binding)[^>"]*', path.read_text())
    assert bool(found) == path.name.startswith("binding"), f"{path.name} includes {found}"


def test_the_contract_sees_what_breaks_it(tmp_path):
    up = {
        "direct.flow": {"direct.train.loop"},
        "direct.train.loop": {"sweeps.run"},
        "sweeps.run": set(),
    }
    assert upward(up) == [
        "direct.flow imports direct.train.loop, which is a layer above it",
        "direct.train.loop imports sweeps.run, which is a layer above it",
    ]
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    path = tmp_path / "flow.py"
    path.write_text(
        "def inside():\n    from .train.loop import train\n    from direct import velocity_loss\n"
        "    import direct.models.pipeline\n"
    )
    hidden = {"direct.train.loop", "direct.loss", "direct.models.pipeline"}
    assert imports_of("direct.flow", path, FILES) == hidden

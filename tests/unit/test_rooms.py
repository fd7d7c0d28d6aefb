"""Imports run one way, from house to house and from room to room, and never in a circle.

A room is a folder of one of the two big packages; the modules that stand before the rooms are the programs. Three
houses must work where torch is not installed.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = {"sharding", "blvnet", "pipeline", "launch"}
HOUSE_MAY_IMPORT = {
    "sharding": set[str](),
    "blvnet": set[str](),
    "pipeline": {"sharding", "blvnet"},
    # What a mistake is known by before anything is queued, and what is made of nodes' reports: all without torch.
    "launch": {
        *("pipeline.config", "pipeline.checking.request", "sharding.errors", "sharding.arguments"),
        *(
            "sharding.options",
            "pipeline.checking.report",
            "pipeline.checking.verdict",
            "pipeline.checking.halves",
        ),
    },
}
_DATA = {"pipeline.handover", "pipeline.labels", "pipeline.order", "pipeline.ranks"}
_RUN = {"pipeline.data", *_DATA}
_TRAINING = {"pipeline.run", "pipeline.augmentation", "pipeline.pace", *_RUN}
_EVALUATION = {"pipeline.training", *_TRAINING}
ROOM_MAY_IMPORT = {
    "sharding.storage": set[str](),
    "sharding.format": {"sharding.storage"},
    "sharding.lists": {"sharding.format"},
    "sharding.sources": {"sharding.format"},
    "sharding.archives": {"sharding.storage"},
    "sharding.foreign": {"sharding.sources", "sharding.workers", "sharding.format", "sharding.storage"},
    "sharding.fingerprints": {"sharding.format", "sharding.storage", "sharding.workers"},
    "sharding.pages": {"sharding.foreign", "sharding.format", "sharding.storage"},
    "sharding.workers": set[str](),
    "sharding.building": {
        "sharding.lists",
        "sharding.foreign",
        "sharding.sources",
        "sharding.archives",
        "sharding.workers",
        "sharding.format",
        "sharding.storage",
        "sharding.pages",
    },
    "sharding.demo": {"sharding.storage", "sharding.workers"},
    "pipeline.settings": set[str](),
    "pipeline.order": set[str](),
    "pipeline.labels": set[str](),
    "pipeline.ranks": set[str](),
    "pipeline.handover": {"pipeline.ranks"},
    "pipeline.data": _DATA,
    "pipeline.augmentation": _RUN,
    "pipeline.run": _RUN,
    "pipeline.streaming": {"pipeline.run", *_RUN},
    "pipeline.pace": {"pipeline.data", "pipeline.ranks"},
    "pipeline.training": _TRAINING,
    "pipeline.evaluation": _EVALUATION,
    "pipeline.reporting": {"pipeline.evaluation", "pipeline.run", "pipeline.pace", "pipeline.order"},
    "pipeline.measuring": {"pipeline.training", *_RUN},
    "pipeline.exporting": {"pipeline.training"},
    "pipeline.checking": {"pipeline.run", *_RUN},
}
# What stands before the rooms and serves them all.
COMMON = {"sharding.errors", "pipeline.config"}
MOST_MODULES = 16
TORCH_FREE = [
    *("sharding", "launch", "pipeline.config", "pipeline.plan", "pipeline.audit"),
    *(f"pipeline.checking.{name}" for name in ("request", "report", "verdict", "halves")),
]


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for house in sorted(HOUSES) for path in sorted((ROOT / house).rglob("*.py"))}


def room(name: str) -> str:
    """The room of a module; a module before the rooms is its own."""
    return ".".join(name.split(".")[:2])


def imported(name: str) -> set[str]:
    """Every module of the four houses that module `name` imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return {other for other in found if other.split(".")[0] in HOUSES} - {name}


@pytest.mark.parametrize("house", sorted(HOUSES))
def test_imports_run_one_way_between_houses(house: str) -> None:
    allowed = HOUSE_MAY_IMPORT[house] | {house}
    for name in MODULES:
        if name.split(".")[0] == house:
            for other in imported(name):
                assert any(f"{other}.".startswith(f"{a}.") for a in allowed), f"{name} imports {other}"


@pytest.mark.parametrize("inside", sorted(ROOM_MAY_IMPORT))
def test_imports_run_one_way_between_rooms(inside: str) -> None:
    house = inside.split(".")[0]
    allowed = ROOM_MAY_IMPORT[inside] | COMMON | {inside}
    for name in MODULES:
        if room(name) == inside:
            for other in imported(name):
                if other.split(".")[0] == house:
                    assert room(other) in allowed, f"{name} imports {other}"


def test_every_room_has_a_rule_a_sentence_and_a_limit() -> None:
    rooms = {room(name) for name, path in MODULES.items() if path.name == "__init__.py" and "." in name}
    assert rooms == set(ROOM_MAY_IMPORT)
    for name in rooms:
        text = ast.get_docstring(ast.parse(MODULES[name].read_text())) or ""
        assert "ay import" in text, f"{name} does not say what it is for and what it may import"
        assert len([other for other in MODULES if other.startswith(f"{name}.")]) <= MOST_MODULES


def test_programs_do_not_import_each_other() -> None:
    programs = [name for name in MODULES if name.startswith("pipeline.") and room(name) == name]
    programs = [name for name in programs if name not in ROOM_MAY_IMPORT]
    assert len(programs) > 8
    for name in programs:
        assert not imported(name) & (set(programs) - COMMON), name


def test_there_is_no_import_circle() -> None:
    order = list(TopologicalSorter({name: imported(name) for name in MODULES}).static_order())
    assert set(order) == set(MODULES)


def test_a_program_imports_no_torchvision_before_it_changes_colours() -> None:
    """Which takes as long as all else that a rank or a loader process imports."""
    program = "import pipeline.train, pipeline.evaluate, pipeline.predict, pipeline.streaming, sys\n"
    program += "assert 'torchvision' not in sys.modules and 'torch._dynamo' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TORCH_FREE)
def test_it_imports_without_torch(name: str) -> None:
    modules = [other for other in MODULES if other == name or other.startswith(f"{name}.")]
    program = (
        "import sys\n"
        "sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""Imports run one way through the rooms, and three of them must work where torch is not installed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"sharding", "blvnet", "pipeline", "launch"}
MAY_IMPORT = {
    "sharding": set(),
    "blvnet": set(),
    "pipeline": {"sharding", "blvnet"},
    "launch": {"pipeline.config"},
}
TORCH_FREE = ["sharding", "launch", "pipeline.config"]


def imported_names(source: str) -> set[str]:
    """Every module that `source` names in an import, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_run_one_way(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    for path in sorted((ROOT / room).rglob("*.py")):
        for name in imported_names(path.read_text()):
            if name.split(".")[0] not in ROOMS or (name == "pipeline" and "pipeline.config" in allowed):
                continue
            assert any(name == a or name.startswith(a + ".") for a in allowed), f"{path} imports {name}"


@pytest.mark.parametrize("room", TORCH_FREE)
def test_room_imports_without_torch(room: str) -> None:
    modules = (
        [room]
        if "." in room
        else [f"{room}.{p.stem}" for p in sorted((ROOT / room).glob("*.py")) if p.stem != "__init__"]
    )
    program = (
        "import sys\n"
        "sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""What a run was started with, each time: its configuration, versions, machines and command, in the folder `starts`."""

import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import sharding
from pipeline.config import Config
from sharding import storage

_HOUSE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Rank:
    """Where one rank runs: the host's name, and the device's."""

    host: str
    device: str


def this_rank(device: torch.device) -> Rank:
    """This process's."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return Rank(platform.node(), name)


def record(folder: str, done: int, config: Config, ranks: list[Rank]) -> None:
    """Write down a start after `done` steps; nothing that was written before is replaced."""
    now = datetime.now(timezone.utc)
    content = {
        "time": now.isoformat(timespec="seconds"),
        "after_steps": done,
        "version": sharding.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "ranks": [asdict(rank) for rank in ranks],
        "command": sys.argv,
        "config": config.model_dump(mode="json", by_alias=True),
    }
    name = f"step-{done:08d}-{now:%Y%m%dT%H%M%SZ}.json"
    storage.write_bytes(storage.join(folder, "starts", name), json.dumps(content, indent=1).encode())


def commit() -> str | None:
    """The commit of this program, with `+` where files were changed since; None outside a git checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def changes(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """The settings in which two configurations differ: key, old and new value. New settings were not there before."""
    found = []
    for key in before.keys() & now.keys():
        old, new = before[key], now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            found += changes(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} {_shown(old)} -> {_shown(new)}")
    return sorted(found)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _git(*words: str) -> str:
    """What git says of this program's folder, if that is the top of a checkout."""
    top = ["git", "-C", str(_HOUSE)]
    if not (_HOUSE / ".git").exists():
        raise OSError("not a checkout")
    return subprocess.run(
        [*top, *words], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()

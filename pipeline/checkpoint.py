"""Checkpoints in a run folder: complete before they are named, verified before they are used.

`checkpoints/step-00012345.pt` is written first, atomically; then `checkpoints/latest.json`, which names the kept
checkpoints, newest first, each with its SHA-256. So a run that was killed at any moment finds a complete one.
"""

import hashlib
import io
import json
import pickle
import sys
import time
from typing import Any

import torch

from sharding import storage
from sharding.errors import UserError

State = dict[str, Any]


class Checkpoints:
    """The checkpoints of one run; only the main process writes."""

    def __init__(self, run_folder: str, keep: int) -> None:
        self._folder = storage.join(run_folder, "checkpoints")
        self._keep = keep

    def save(self, step: int, state: State) -> None:
        """Write `state`, name it as the newest, and remove what is no longer kept."""
        content = _to_bytes(state)
        name = f"step-{step:08d}.pt"
        storage.write_bytes(storage.join(self._folder, name), content)
        entry = {"name": name, "step": step, "sha256": hashlib.sha256(content).hexdigest()}
        entries = [entry, *(old for old in self._entries() if old["step"] < step)]
        latest = {**entry, "kept": entries[: self._keep]}
        storage.write_bytes(storage.join(self._folder, "latest.json"), _to_json(latest))
        best = self._best()
        for old in entries[self._keep :]:
            if old["name"] != best.get("name"):
                storage.remove(storage.join(self._folder, old["name"]))

    def save_best(self, top1: float) -> None:
        """Name the newest checkpoint as the best one if its validation accuracy is the highest."""
        best = self._best()
        if top1 > best.get("top1", -1.0):
            (newest, *_) = self._entries()
            content = _to_json({**newest, "top1": top1})
            storage.write_bytes(storage.join(self._folder, "best.json"), content)
            if best and best["name"] not in {entry["name"] for entry in self._entries()}:
                storage.remove(storage.join(self._folder, best["name"]))

    def newest(self) -> State | None:
        """The newest checkpoint that is complete, or None for a new run.

        A damaged one is skipped with a warning on stderr; `UserError` if every one is damaged.
        """
        entries = self._entries()
        for entry in entries:
            try:
                return load(storage.join(self._folder, entry["name"]), entry["sha256"])
            except UserError as error:
                print(f"warning: {error}; trying the one before", file=sys.stderr, flush=True)
        if entries:
            raise UserError(f"{self._folder}: every checkpoint is damaged; remove the folder to start anew")
        return None

    def _entries(self) -> list[State]:
        return list(_read_json(storage.join(self._folder, "latest.json")).get("kept", []))

    def _best(self) -> State:
        return _read_json(storage.join(self._folder, "best.json"))


class Due:
    """Whether a checkpoint is due after a step: so many steps or minutes since the last one."""

    def __init__(self, steps: int | None, minutes: float | None) -> None:
        self._steps, self._minutes = steps, minutes
        self._last = time.monotonic()

    def __call__(self, done: int) -> bool:
        late = self._minutes is not None and time.monotonic() - self._last >= 60 * self._minutes
        if late:
            self._last = time.monotonic()
        return late or (self._steps is not None and done % self._steps == 0)


def load(url: str, sha256: str | None = None) -> State:
    """The state in the checkpoint at `url`, on the CPU; no code in it is run.

    A run folder, or its `latest.json` or `best.json`, stands for the checkpoint that it names. Raises
    `UserError` for a file that is missing, cut short, changed, or no checkpoint of this program.
    """
    if not url.endswith((".json", ".pt")):
        url = storage.join(url, "checkpoints", "latest.json")
    if url.endswith(".json"):
        named = json.loads(storage.read_bytes(url))
        url, sha256 = storage.join(url.rpartition("/")[0], named["name"]), named["sha256"]
    content = storage.read_bytes(url)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{url}: damaged checkpoint: its content differs from its recorded SHA-256")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise UserError(f"{url}: damaged, or not a checkpoint of this program: {reason}") from None
    if not isinstance(state, dict) or "config" not in state:
        raise UserError(f"{url}: not a checkpoint of this program")
    return state


def _to_bytes(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _to_json(content: State) -> bytes:
    return json.dumps(content, indent=1).encode()


def _read_json(url: str) -> State:
    return json.loads(storage.read_bytes(url)) if storage.exists(url) else {}

"""Checkpoints in a run folder: complete before they are named, verified before they are used.

`checkpoints/step-00012345.pt` is written first, atomically; then `checkpoints/latest.json`, which names the kept
checkpoints, newest first, each with its SHA-256. So a run that was killed at any moment finds a complete one. A run
begins with a `latest.json` that names none: where there is none at all beside what a run leaves, it was lost.
"""

import hashlib
import io
import json
import pickle
import sys
import zipfile
from typing import Any, NamedTuple

import torch
from torch import Tensor

from blvnet import weights
from sharding import storage
from sharding.errors import UserError

State = dict[str, Any]


class Merit(NamedTuple):
    """The validation score by which checkpoints are compared, in percent; `name` is its key in the metrics."""

    name: str
    value: float


class Checkpoints:
    """The checkpoints of one run; only the main process writes and chooses."""

    def __init__(self, run_folder: str, keep: int) -> None:
        self._folder = storage.join(run_folder, "checkpoints")
        self._keep = keep

    def save(self, step: int, state: State, merit: Merit | None = None) -> None:
        """Write `state`, name it as the newest, and remove what is no longer kept.

        `merit`, where the model was just evaluated: top-1, or mean average precision; the highest one is the best.
        """
        content = _to_bytes(state)
        entry = {"name": f"step-{step:08d}.pt", "step": step, "sha256": hashlib.sha256(content).hexdigest()}
        best = self.best()
        if best.get("name") == entry["name"] and best["sha256"] != entry["sha256"]:
            # A run that was killed after this step does it again: the best one's file is about to be another.
            storage.remove(self._url("best.json"))
            best = {}
        storage.write_bytes(self._url(str(entry["name"])), content)
        if merit is not None and merit.value > best.get(merit.name, -1.0):
            best = {**entry, merit.name: merit.value}
            storage.write_bytes(self._url("best.json"), _to_json(best))
        kept = [entry, *(old for old in self._entries() if old["step"] < step)][: self._keep]
        storage.write_bytes(self._url("latest.json"), _to_json({**entry, "kept": kept}))
        named = {best.get("name"), *(old["name"] for old in kept)}
        # Also those of steps that a run went back behind, or that a kill left unnamed.
        for name in storage.list_names(self._folder):
            if name.endswith(".pt") and name not in named:
                storage.remove(self._url(name))

    def newest(self) -> tuple[str, State] | None:
        """URL and content of the newest checkpoint that is whole, or None for a new run; it is read once.

        A damaged one is passed over with a warning on stderr; `UserError` if every one is damaged, and where a run was
        here whose `latest.json` is lost.
        """
        index = _read_json(self._url("latest.json"))
        if "kept" not in index and (left := self._left_by_a_run()):
            raise UserError(
                f"{self._url('latest.json')}: missing or empty, but {left} says that a run was here; restore it or "
                "remove the folder to start anew; init.from=FILE.pt starts from the weights of a checkpoint"
            )
        entries = self._entries()
        for entry in entries:
            url = self._url(entry["name"])
            try:
                return url, load(url, entry["sha256"])
            except DamagedError as error:
                print(f"warning: {error}; trying the one before", file=sys.stderr, flush=True)
        if entries:
            raise UserError(f"{self._folder}: every checkpoint is damaged; remove the folder to start anew")
        return None

    def best(self) -> State:
        """What is on record of the best one: `name`, `step`, and `top1` or `map`; empty where none was."""
        return _read_json(self._url("best.json"))

    def begin(self) -> None:
        """Put on record that a run has begun here, which has no checkpoint yet."""
        storage.write_bytes(self._url("latest.json"), _to_json({"step": 0, "kept": []}))

    def _left_by_a_run(self) -> str | None:
        """The URL of a checkpoint or of metrics beside them, if there are any."""
        for name in storage.list_names(self._folder):
            if name.endswith(".pt"):
                return self._url(name)
        metrics = storage.join(self._folder.rpartition("/")[0], "metrics.jsonl")
        return metrics if storage.exists(metrics) and storage.size(metrics) else None

    def _url(self, name: str) -> str:
        return storage.join(self._folder, name)

    def _entries(self) -> list[State]:
        return list(_read_json(self._url("latest.json")).get("kept", []))


class DamagedError(UserError):
    """A checkpoint that is missing, cut short or changed."""


def load(url: str, sha256: str | None = None) -> State:
    """The state in the checkpoint at `url`, on the CPU; no code in it is run.

    A run folder, or its `latest.json` or `best.json`, stands for the checkpoint that it names; a file is held against
    them where they lie beside it, and against its own checksums. Raises `DamagedError` for a file that is missing, cut
    short, changed, or no checkpoint of this program; a file of the published implementation is another `UserError`.
    """
    if not url.endswith((".json", ".pt")) and not storage.exists(url):
        url = storage.join(url, "checkpoints", "latest.json")
    if url.endswith(".json"):
        named = _read_json(url)
        if named.get("kept") == []:
            raise UserError(f"{url}: the run has not saved a checkpoint yet; wait for its first one")
        if not {"name", "sha256"} <= named.keys():
            raise UserError(f"{url}: names no checkpoint; give a run folder, its best.json or a .pt file")
        url, sha256 = storage.join(url.rpartition("/")[0], named["name"]), named["sha256"]
    if not storage.exists(url):
        raise DamagedError(f"{url}: no such checkpoint")
    content = storage.read_bytes(url)
    recorded = sha256 or _recorded_sha256(url)
    if recorded and hashlib.sha256(content).hexdigest() != recorded:
        raise DamagedError(f"{url}: damaged checkpoint: its content differs from its recorded SHA-256")
    try:
        if part := zipfile.ZipFile(io.BytesIO(content)).testzip():
            raise DamagedError(f"{url}: damaged checkpoint: the checksum of {part} in it differs")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, zipfile.BadZipFile) as error:
        _refuse_reference(url, content)
        reason = str(error).split("\n", 1)[0]
        raise DamagedError(f"{url}: damaged, or not a checkpoint of this program: {reason}") from None
    own: State = state if isinstance(state, dict) else {}
    if not all(isinstance(own.get(part), dict) for part in ("model", "config")):
        _refuse_reference(url, content)
        raise DamagedError(f"{url}: not a checkpoint of this program")
    return own


def _refuse_reference(url: str, content: bytes) -> None:
    """`UserError` where `content` is a file of the published implementation, in whatever form."""
    try:
        theirs = weights.from_reference(weights.read(io.BytesIO(content)))
    except weights.WeightsError:
        return
    if theirs:
        raise UserError(
            f"{url}: weights of the published implementation, not a checkpoint of this program; give them as "
            "--reference-weights with --model, and to a training as init.reference"
        )


def _recorded_sha256(url: str) -> str | None:
    """What the run's indices beside the checkpoint at `url` say of it, if they do."""
    folder, _, name = url.rpartition("/")
    for index in ("latest.json", "best.json"):
        content = _read_json(storage.join(folder or ".", index))
        for entry in (content, *content.get("kept", [])):
            if entry.get("name") == name:
                return str(entry["sha256"])
    return None


def weights_of(state: State) -> dict[str, Tensor]:
    """The network that the checkpoint `state` stands for: the average of the weights where the run kept one."""
    tensors: dict[str, Tensor] = state["ema"] if "ema" in state else state["model"]
    return tensors


def _to_bytes(state: State) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _to_json(content: State) -> bytes:
    return json.dumps(content, indent=1).encode()


def _read_json(url: str) -> State:
    """The JSON object at `url`; empty where there is none."""
    if not storage.exists(url):
        return {}
    try:
        content = json.loads(storage.read_bytes(url))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{url}: not a JSON object; restore it, or name a .pt file beside it")
    return content

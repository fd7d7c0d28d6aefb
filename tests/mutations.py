"""Films and pictures damaged at random, and builds of many of them: for a test and a benchmark."""

import csv
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import av

from sharding.format import manifest, mjpeg
from sharding.format.sidecar import load_sidecar
from tests.processes import ROOT, environment, kill_tree, tagged
from tests.unit.sharding.videos import picture, write_video

FRAMES = 10
WHOLE = "none"
"""The damage of inputs that are whole: all of these must be built."""

_PICTURES = 4
_VIDEO_LIMIT_S = 30.0
_BUILD_LIMIT_S = 500.0
# Endings with codecs that FFmpeg can write; in all of them films are found.
_FILMS: dict[str, tuple[str, ...]] = {
    "libx264": ("mp4", "mkv", "ts", "flv", "264"),
    "libx265": ("mp4",),
    "libvpx": ("webm", "ivf", "ogg"),
    "libvpx-vp9": ("webm", "mp4"),
    "libsvtav1": ("mkv",),
    "mpeg4": ("avi", "mov", "m4v"),
    "mpeg2video": ("ts", "mpg"),
    "mjpeg": ("avi",),
    "flv": ("flv",),
    "wmv2": ("wmv",),
    "ffv1": ("mkv",),
    "huffyuv": ("avi",),
    "prores": ("mov",),
    "rawvideo": ("avi",),
    "gif": ("gif",),
}
_PIXELS = {"mjpeg": "yuvj420p", "huffyuv": "yuv422p", "prores": "yuv422p10le", "gif": "rgb8"}
# By default libvpx does here what time allows, and libx264 now and then codes the same film otherwise.
_STEADY = {
    "libx264": {"preset": "ultrafast", "qp": "24", "bf": "2"},
    "libvpx": {"deadline": "good"},
    "libvpx-vp9": {"deadline": "good"},
}
# Runs a command, and prints the most kB that it, or a process it started, had at once. A program begins with the
# memory of the one that starts it, as the system counts: so this small one does.
_MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


class Original(NamedTuple):
    """A film's ending and its bytes; or no ending, and the pictures of a folder."""

    ending: str
    parts: tuple[bytes, ...]


class Mutant(NamedTuple):
    """A damaged film or folder, and the kind of the damage."""

    kind: str
    film: Original


def originals(folder: Path) -> list[Original]:
    """A film of each container and codec, `FRAMES` frames of 64x48, and folders of JPEGs: whole, always the same."""
    av.logging.set_level(av.logging.PANIC)
    made = []
    for codec, endings in _FILMS.items():
        for ending in endings:
            path = folder / f"{codec}.{ending}"
            size = (176, 128) if codec == "libsvtav1" else (64, 48)
            steady = {"threads": "1"} | _STEADY.get(codec, {})
            write_video(path, FRAMES, size, codec, _PIXELS.get(codec, "yuv420p"), None, steady, bitexact=True)
            made.append(Original(ending, (path.read_bytes(),)))
    pictures = tuple(mjpeg.encode_rgb(picture(number, 64, 48), 90) for number in range(_PICTURES))
    return [*made, *[Original("", pictures)] * 6]


def mutant(films: list[Original], seed: int, number: int) -> Mutant:
    """Input `number` of all those of a seed: the same one on every machine with the same originals."""
    chance = random.Random(f"{seed} {number}")
    film = chance.choice(films)
    kind = chance.choice(list(_KINDS))
    place = chance.randrange(len(film.parts))
    data = bytearray(film.parts[place])
    for _ in range(chance.choice((1, 1, 2, 5))):
        data = bytearray(_KINDS[kind](data, chance))
    parts = (*film.parts[:place], bytes(data), *film.parts[place + 1 :])
    return Mutant(kind, Original(film.ending, parts))


def _flipped(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 3, 30))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _scribbled(data: bytearray, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return bytes(data[:begin] + chance.randbytes(end - begin) + data[end:])


def _blank(data: bytearray, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return bytes(data[:begin] + bytes(end - begin) + data[end:])


def _cut(data: bytearray, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(len(data) + 1)])


def _holed(data: bytearray, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return bytes(data[:begin] + data[end:])


def _repeated(data: bytearray, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return bytes(data[:end] + data[begin:])


def _swapped(data: bytearray, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    middle = chance.randint(begin, end)
    return bytes(data[:begin] + data[middle:end] + data[begin:middle] + data[end:])


def _headed(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 2, 8))):
        if data:
            data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
    return bytes(data)


def _numbered(data: bytearray, chance: random.Random) -> bytes:
    """A number that is out of all bounds, or 0, in the place of another: sizes, counts, times."""
    width = chance.choice((2, 4, 8))
    number = chance.choice((0, 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, (1 << 8 * width) - 1, 16000))
    place = chance.randrange(max(1, min(len(data), chance.choice((400, len(data))))))
    data[place : place + width] = number.to_bytes(width, chance.choice(("big", "little")))
    return bytes(data)


def _span(data: bytearray, chance: random.Random) -> tuple[int, int]:
    begin = chance.randint(0, len(data))
    return begin, min(len(data), begin + chance.choice((4, 64, 1000, len(data))))


_KINDS: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "bits flipped": _flipped,
    "random bytes": _scribbled,
    "zeros": _blank,
    "cut short": _cut,
    "a hole": _holed,
    "a part twice": _repeated,
    "parts swapped": _swapped,
    "header bytes": _headed,
    "numbers": _numbered,
    WHOLE: lambda data, _: bytes(data),
}


@dataclass
class Outcome:
    """What builds of damaged films came to. `faults` must be empty; `peak_bytes` is the largest process's memory."""

    inputs: Counter[str] = field(default_factory=Counter)
    samples: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    peak_bytes: int = 0
    seconds: float = 0.0

    def add(self, other: "Outcome") -> None:
        """Count those of another build too."""
        self.inputs += other.inputs
        self.samples += other.samples
        self.reasons += other.reasons
        self.faults += other.faults
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.seconds += other.seconds


def build(folder: Path, films: list[Original], seed: int, numbers: range, workers: int) -> Outcome:
    """Build the inputs `numbers` in `folder`, which is empty, by the real command, and check all that it wrote."""
    begin = time.monotonic()
    outcome = Outcome()
    kinds = {}
    for number in numbers:
        kind, film = mutant(films, seed, number)
        kinds[str(number)] = kind
        _write(folder / "videos" / _name(number, film), film)
    outcome.inputs.update(kinds.values())
    with (folder / "films.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "split", "id"])
        for file in sorted((folder / "videos").iterdir()):
            rows.writerow([file.name, "a", "train", file.name.partition(".")[0]])
    out = folder / "shards"
    words = ["build", "--dataset", "csv", "--annotations", str(folder / "films.csv"), "--out", str(out)]
    words += ["--videos", str(folder / "videos"), "--workers", str(workers), "--max-failures", "100%"]
    words += ["--short-side", "32", "--samples-per-shard", "50", "--video-limit", str(_VIDEO_LIMIT_S)]
    _run(words, 0, outcome)
    if outcome.faults:
        return outcome
    made = manifest.load(str(out / "train"))
    failed = {failure.key: failure.reason for failure in made.failures}
    names = (made.sidecar_url(number) for number in range(len(made.shards)))
    samples = [row.key for name in names for row in load_sidecar(name).samples]
    if sorted([*samples, *failed]) != sorted(kinds):
        outcome.faults.append(f"seed {seed}, {numbers}: an input is neither sample nor failure, or both")
    with (out / "train" / manifest.FAILURES_NAME).open(newline="") as stream:
        if {row["key"]: row["reason"] for row in csv.DictReader(stream)} != failed:
            outcome.faults.append(f"seed {seed}, {numbers}: {manifest.FAILURES_NAME} has not the failures")
    outcome.samples.update(kinds[key] for key in samples)
    for key, reason in failed.items():
        outcome.reasons[_kind_of_reason(reason)] += 1
        if kinds[key] == WHOLE or "crashed" in reason or "killed" in reason or "not decoded within" in reason:
            outcome.faults.append(f"seed {seed}, input {key}: {reason}")
    _run(["finalize", str(out), "--max-failures", "0"], 2 if failed else 0, outcome)
    _run(["verify", str(out), "--workers", "1"], 0, outcome)
    outcome.seconds = time.monotonic() - begin
    return outcome


def _name(number: int, film: Original) -> str:
    return f"{number}.{film.ending}" if film.ending else str(number)


def _write(path: Path, film: Original) -> None:
    path.parent.mkdir(exist_ok=True)
    if film.ending:
        path.write_bytes(film.parts[0])
        return
    path.mkdir()
    for number, part in enumerate(film.parts):
        (path / f"{number:05}.jpg").write_bytes(part)


def _kind_of_reason(reason: str) -> str:
    """The reason without the numbers and names of this one file."""
    return re.sub(r"\(.*\)$", "(...)", re.sub(r"\d+", "N", reason))


def _run(words: list[str], status: int, outcome: Outcome) -> None:
    """A command of `blvnet-shard`, to `outcome`: its memory, and what is wrong with its end."""
    tag = f"mutations-{uuid.uuid4()}"
    command = [sys.executable, "-c", _MEASURED, sys.executable, "-m", "sharding.cli", *words]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment({"MUTATIONS": tag}), stdout=subprocess.PIPE, stderr=log
        )
        try:
            outcome.peak_bytes = max(
                outcome.peak_bytes, 1024 * int(process.communicate(None, _BUILD_LIMIT_S)[0])
            )
        except subprocess.TimeoutExpired:
            outcome.faults.append(f"{words}: not at its end within {_BUILD_LIMIT_S:g} s")
            kill_tree(process)
        except BaseException:
            kill_tree(process)
            raise
        log.seek(0)
        output = log.read().decode(errors="replace")
    if process.returncode != status or "Traceback" in output:
        last = output.splitlines()[-20:]
        outcome.faults.append("\n".join([f"{words}: status {process.returncode}, not {status}:", *last]))
    outcome.faults += [f"{words}: {line}" for line in output.splitlines() if "its worker was" in line]
    deadline = time.monotonic() + 10
    while (left := tagged(tag)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        outcome.faults.append(f"{words}: processes {left} are left")

"""A small labelled video set to try everything with, laid out like Something-Something v2.

    <folder>/something-something-v2-{labels,train,validation,test}.json
    <folder>/20bn-something-something-v2/<id>.webm      VP9, 12 frames/s, 240 high, 2 to 4 s

The classes come in pairs whose videos are the same scenes forwards and backwards, so no single frame tells the
class. Everything follows from the seed.
"""

import io
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharding import storage
from sharding.demo.scene import Scene, filmed, scene
from sharding.errors import UserError

VIDEO_FOLDER = "20bn-something-something-v2"
SETTINGS_FILE = "demo.json"

HEIGHT = 240
WIDTHS = (427, 320, 320, 240)
FPS = 12
SECONDS = (2.0, 4.0)

# A motion of a `Scene`, with Something-Something v2's template for it forwards and backwards.
PAIRS = (
    ("across", "Pushing [something] from left to right", "Pushing [something] from right to left"),
    ("rising", "Moving [something] up", "Moving [something] down"),
    (
        "approaching",
        "Approaching [something] with your camera",
        "Moving away from [something] with your camera",
    ),
    (
        "meeting",
        "Moving [something] and [something] closer to each other",
        "Moving [something] and [something] away from each other",
    ),
    (
        "turning left",
        "Turning the camera left while filming [something]",
        "Turning the camera right while filming [something]",
    ),
    (
        "turning up",
        "Turning the camera upwards while filming [something]",
        "Turning the camera downwards while filming [something]",
    ),
)


@dataclass(frozen=True)
class Settings:
    """What the set follows from. `drawing` changes whenever the same seed gives other pictures."""

    seed: int = 0
    classes: int = 8
    train: int = 240
    validation: int = 64
    test: int = 16
    drawing: int = 1


@dataclass(frozen=True)
class Clip:
    """One video to render."""

    id: str
    motion: str
    backwards: bool
    template: str
    width: int
    frames: int
    seed: tuple[int, ...]


def make(folder: str | os.PathLike[str], seed: int = 0, workers: int | None = None, **counts: int) -> int:
    """Render the set into `folder`, and return its number of videos; what is there already is kept.

    `counts` are `classes` (even, 2 to 12) and the numbers of `train`, `validation` and `test` videos. `workers`
    are processes (default: one a core). Raises `UserError` where the folder holds a set of other settings.
    """
    settings = Settings(seed=seed, **counts)
    if settings.classes % 2 or not 2 <= settings.classes <= 2 * len(PAIRS):
        raise UserError(f"classes={settings.classes}: take an even number from 2 to {2 * len(PAIRS)}")
    root = Path(folder)
    _claim(root, settings)
    clips = plan(settings)
    videos = root / VIDEO_FOLDER
    missing = [
        clip for split in clips.values() for clip in split if not (videos / f"{clip.id}.webm").exists()
    ]
    _render_all(videos, missing, sum(map(len, clips.values())), workers)
    _annotate(root, settings, clips)
    return sum(map(len, clips.values()))


def plan(settings: Settings) -> dict[str, list[Clip]]:
    """The videos of each split, in the order of its annotations: as many of each class as can be, then mixed."""
    counts = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    random = np.random.default_rng(settings.seed)
    ids = iter(random.choice(np.arange(1, 220848), sum(counts.values()), replace=False))
    clips: dict[str, list[Clip]] = {}
    for number, (split, count) in enumerate(counts.items()):
        made = []
        for i in range(count):
            motion, *templates = PAIRS[i % settings.classes // 2]
            made.append(
                Clip(
                    id=str(next(ids)),
                    motion=motion,
                    backwards=bool(i % 2),
                    template=templates[i % 2],
                    width=int(random.choice(WIDTHS)),
                    frames=round(FPS * random.uniform(*SECONDS)),
                    seed=(settings.seed, number, i),
                )
            )
        clips[split] = [made[k] for k in random.permutation(count)]
    return clips


def class_name(template: str) -> str:
    """The class of a template: the same words without brackets."""
    return template.replace("[", "").replace("]", "")


def film(clip: Clip) -> NDArray[np.uint8]:
    """The clip's frames, uint8 (frames, height, width, 3) RGB."""
    random, what = _scene(clip)
    frames = filmed(what, random, clip.width, HEIGHT)
    return frames[::-1] if clip.backwards else frames


def encode(frames: NDArray[np.uint8]) -> bytes:
    """A WebM file, VP9 in 4:2:0; the same bytes for the same frames."""
    import av

    target = io.BytesIO()
    # Bit-exact: no random identifier, no date, no version of the program in the file.
    with av.open(target, "w", format="webm", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=FPS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.options = {
            "deadline": "realtime",
            "cpu-used": "8",
            "crf": "32",
            "b": "0",
            "flags": "+bitexact",
        }
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return target.getvalue()


def _claim(root: Path, settings: Settings) -> None:
    """Note the settings in the folder, or check that they are the ones of what is there."""
    path = root / SETTINGS_FILE
    mine = asdict(settings)
    if not path.exists():
        storage.write_bytes(path, _json(mine))
        return
    try:
        theirs = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: not the settings of a demo set ({error}); choose another folder") from error
    if theirs != mine:
        raise UserError(
            f"{path}: the folder holds a set made with {theirs}, not {mine}; choose another folder"
        )


def _render_all(videos: Path, missing: list[Clip], total: int, workers: int | None) -> None:
    from sharding.workers import progress

    # Each process renders whole videos; the encoder and NumPy use one thread.
    processes = min(workers or len(os.sched_getaffinity(0)), max(1, len(missing)))
    with (
        progress.bar("demo videos", total, "video", initial=total - len(missing)) as bar,
        ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver")) as pool,
    ):
        for _ in pool.map(_render, [videos] * len(missing), missing):
            bar.update()


def _render(videos: Path, clip: Clip) -> None:
    storage.write_bytes(videos / f"{clip.id}.webm", encode(film(clip)))


def _annotate(root: Path, settings: Settings, clips: dict[str, list[Clip]]) -> None:
    names = sorted(class_name(template) for _, *both in PAIRS[: settings.classes // 2] for template in both)
    labels = {name: str(index) for index, name in enumerate(names)}
    storage.write_bytes(root / "something-something-v2-labels.json", _json(labels))
    for split, videos in clips.items():
        entries = [{"id": clip.id} if split == "test" else _entry(clip) for clip in videos]
        storage.write_bytes(root / f"something-something-v2-{split}.json", _json(entries))


def _entry(clip: Clip) -> dict[str, Any]:
    """What the annotations say of a video."""
    things = [thing.name for thing in _scene(clip)[1].things]
    label = clip.template[0].lower() + clip.template[1:]
    for thing in things:
        label = label.replace("[something]", thing, 1)
    return {"id": clip.id, "label": label, "template": clip.template, "placeholders": things}


def _scene(clip: Clip) -> tuple[np.random.Generator, Scene]:
    """The clip's scene, and the generator that its pictures go on with."""
    random = np.random.default_rng(clip.seed)
    return random, scene(clip.motion, random, clip.width, HEIGHT, clip.frames)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"

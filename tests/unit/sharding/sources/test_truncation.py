from pathlib import Path

import pytest

from sharding.sources.truncation import stated_bytes
from tests.unit.sharding.videos import real_clips, write_video


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("webm", "libvpx"), ("mkv", "libx264"), ("mp4", "libx264"), ("mov", "libx264"), ("avi", "mpeg4")],
)
def test_a_whole_file_states_its_own_size(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(tmp_path / f"v.{suffix}", codec=codec)
    assert stated_bytes(path) == path.stat().st_size


@pytest.mark.parametrize("suffix", ["webm", "mp4", "avi"])
def test_the_stated_size_outlives_a_cut(tmp_path: Path, suffix: str) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4", "mp4": "libx264"}[suffix]
    path = write_video(tmp_path / f"v.{suffix}", codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert (stated_bytes(path) or 0) > len(data) - 1


def test_real_clips_are_whole() -> None:
    for path in real_clips().values():
        assert stated_bytes(path) == path.stat().st_size


@pytest.mark.parametrize(
    "content", [b"", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\x00", b"GIF89a" * 4, b"\0\0\0\1ftyp"]
)
def test_other_files_do_not_tell(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    stated = stated_bytes(path)
    assert stated is None or stated <= len(content)


def test_a_live_recording_of_unknown_size_does_not_tell(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.webm", options={"live": "1"})
    data = bytearray(path.read_bytes())
    place = data.index(b"\x18\x53\x80\x67") + 4
    data[place : place + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(data)
    assert stated_bytes(path) is None

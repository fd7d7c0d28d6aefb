import errno
import io
import os
from pathlib import Path

import av
import pytest

from sharding.sources import truncation
from sharding.sources.decode import Unusable, read
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


class Strict(io.BytesIO):
    """A file on a system that refuses every place behind its end."""

    def seek(self, place: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: len(self.getvalue())}[whence]
        if base + place > len(self.getvalue()):
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().seek(place, whence)


@pytest.mark.parametrize(
    ("content", "stated"),
    [
        (b"\x1a\x45\xdf\xa3\x01\x7e" + bytes(40), None),  # a header of 2**54 bytes
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\x7e" + bytes(40), (0x7E << 48) + 17),
        (b"RIFF\xff\xff\xff\xffAVI " + bytes(40), (1 << 32) + 7),
        (b"\0\0\0\x01mdat\x40" + bytes(40), 1 << 62),
    ],
)
def test_a_size_that_no_file_has_is_read_alike_on_every_file_system(
    content: bytes, stated: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncation, "_opened", lambda path: Strict(path.getvalue()))
    assert stated_bytes(io.BytesIO(content)) == stated
    assert not truncation.is_whole(io.BytesIO(content), [], 0)  # type: ignore[arg-type]


def test_a_live_recording_of_unknown_size_does_not_tell(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.webm", options={"live": "1"})
    data = bytearray(path.read_bytes())
    place = data.index(b"\x18\x53\x80\x67") + 4
    data[place : place + 8] = b"\x01" + b"\xff" * 7
    path.write_bytes(data)
    assert stated_bytes(path) is None


def count(path: Path) -> int:
    return len(list(read(path).frames))


def film(tmp_path: Path, suffix: str, flags: str | None = None) -> Path:
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(suffix, "libx264")
    path = write_video(tmp_path / f"v.{suffix}", 30, (64, 48), codec, options={"g": "5"})
    if flags is None:
        return path
    with (
        av.open(str(path)) as reader,
        av.open(str(tmp_path / "w.mp4"), "w", options={"movflags": flags}) as writer,
    ):
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    return tmp_path / "w.mp4"


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "mkv", "avi"])
@pytest.mark.parametrize("behind", [bytes(range(7, 71)), bytes(64), b"\xff" * 64, b"\0\1\0\0junk" * 8])
def test_bytes_behind_a_whole_film_do_no_harm(tmp_path: Path, suffix: str, behind: bytes) -> None:
    path = film(tmp_path, suffix)
    path.write_bytes(path.read_bytes() + behind)
    assert count(path) == 30


@pytest.mark.parametrize("more", [1, 2, 1000, 10**9])
def test_a_whole_avi_may_state_more_bytes_than_it_has(tmp_path: Path, more: int) -> None:
    path = film(tmp_path, "avi")
    data = bytearray(path.read_bytes())
    data[4:8] = (len(data) - 8 + more).to_bytes(4, "little")
    path.write_bytes(data)
    assert (stated_bytes(path) or 0) > len(data)
    assert count(path) == 30
    for part in (0.5, 0.9, 0.99):
        path.write_bytes(data[: int(part * len(data))])
        with pytest.raises(Unusable, match="truncated"):
            count(path)


@pytest.mark.parametrize("flags", [None, "faststart"])
def test_a_whole_mp4_may_have_a_last_box_that_is_too_long(tmp_path: Path, flags: str | None) -> None:
    path = film(tmp_path, "mp4", flags)
    data = bytearray(path.read_bytes())
    if flags:
        place = data.index(b"mdat") - 4
        size = int.from_bytes(data[place : place + 4], "big")
        data[place : place + 4] = (size + 500).to_bytes(4, "big")
    else:
        data += (5000).to_bytes(4, "big") + b"free" + bytes(100)
    path.write_bytes(data)
    assert (stated_bytes(path) or 0) > len(data)
    assert count(path) == 30
    path.write_bytes(data[: -700 if flags else len(data) // 2])
    with pytest.raises(Unusable, match=r"truncated|cannot be decoded"):
        count(path)


def test_a_fragmented_mp4_that_was_cut_is_no_whole_one(tmp_path: Path) -> None:
    path = film(tmp_path, "mp4", "frag_keyframe+empty_moov")
    data = path.read_bytes()
    assert count(path) == 30
    path.write_bytes(data[: data.rindex(b"moof") - 20])
    with pytest.raises(Unusable, match="truncated"):
        count(path)


def test_a_whole_matroska_may_state_more_bytes_than_it_has(tmp_path: Path) -> None:
    path = film(tmp_path, "mkv")
    data = bytearray(path.read_bytes())
    place = data.index(b"\x18\x53\x80\x67") + 4
    assert data[place] == 1  # eight bytes of size
    size = int.from_bytes(data[place : place + 8], "big") + 300
    data[place : place + 8] = size.to_bytes(8, "big")
    path.write_bytes(data)
    assert (stated_bytes(path) or 0) > len(data)
    assert count(path) == 30
    for cut in (1, 100, len(data) // 2):
        path.write_bytes(data[:-cut])
        with pytest.raises(Unusable, match="truncated"):
            count(path)


def test_a_long_avi_states_all_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "x.avi"
    path.write_bytes(
        b"RIFF" + (100).to_bytes(4, "little") + b"AVI " + bytes(96) + b"RIFF" + bytes([200, 0, 0, 0])
    )
    assert stated_bytes(path) == 108 + 208

import hashlib
import io
import json
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.format import mjpeg, shard
from sharding.format.rows import SampleRow
from sharding.format.shard import read_span, unpack
from sharding.format.sidecar import Failure, Recipe, load_sidecar, save_sidecar
from tests.unit.sharding.videos import picture

RECIPE = Recipe("sthv2", "train", ["a", "b"], {"quality": 90}, "0" * 64, 3)


JPEG = mjpeg.encode_rgb(picture(0, 33, 24), 90)


def written(keys: list[str]) -> tuple[bytes, shard.Writer]:
    """A shard of samples of two frames, the second one with so many bytes behind it."""
    stream = io.BytesIO()
    writer = shard.Writer(stream)
    for number, key in enumerate(keys):
        meta = {
            "label": number,
            "frames": 2,
            "offsets": [0, len(JPEG)],
            "width": 33,
            "height": 24,
            "text": "où",
        }
        jpegs = [JPEG, JPEG, bytes(700 * number)]
        writer.add(key, meta, jpegs, sum(map(len, jpegs)))
    writer.finish()
    return stream.getvalue(), writer


def test_rows_say_where_each_sample_lies() -> None:
    data, writer = written(["a", "b", "c"])
    assert [row.key for row in writer.rows] == ["a", "b", "c"]
    for number, row in enumerate(writer.rows):
        span = data[row.offset : row.offset + row.bytes]
        assert zlib.crc32(span) == row.crc32
        meta, blob = unpack(row, span)
        assert (meta.label, meta.text, meta.fps) == (number, "où", None)
        assert bytes(blob) == JPEG + JPEG + bytes(700 * number)
    sidecar = writer.sidecar("shard-000000.tar", [], RECIPE)
    assert (sidecar.bytes, sidecar.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_it_is_a_plain_tar_with_fixed_headers() -> None:
    key = "é" * 47  # the longest name: 94 bytes and `.mjpeg`
    data, _ = written(["a", key])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert tar.extractfile(members[3]).read() == JPEG + JPEG + bytes(700)  # type: ignore[union-attr]
    assert [m.name for m in members] == ["a.json", "a.mjpeg", f"{key}.json", f"{key}.mjpeg"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o444)}
    assert {m.offset_data - m.offset for m in members} == {512}  # no extension headers
    assert len(data) % tarfile.RECORDSIZE == 0


def test_equal_samples_give_equal_bytes() -> None:
    assert written(["a", "b"])[0] == written(["a", "b"])[0]


def test_an_empty_shard_is_an_empty_tar() -> None:
    data, writer = written([])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getmembers() == [] and writer.rows == []


def with_crc(writer: shard.Writer, span: bytes) -> SampleRow:
    """The first sample's row, if `span` were what it is of."""
    return replace(writer.rows[0], crc32=zlib.crc32(span))


@pytest.mark.parametrize("cut", [0, 511, 600, 1024, 1500, 1600])
def test_a_cut_span_is_a_value_error(cut: int) -> None:
    data, writer = written(["a"])
    span = data[: min(cut, writer.rows[0].bytes - 1)]
    with pytest.raises(ValueError, match="CRC"):
        unpack(writer.rows[0], span)
    with pytest.raises(ValueError):
        unpack(with_crc(writer, span), span)


def test_what_follows_a_sample_is_a_value_error() -> None:
    data, writer = written(["a"])
    span = data[: writer.rows[0].bytes + 512]
    with pytest.raises(ValueError, match="512 bytes follow the sample"):
        unpack(with_crc(writer, span), span)


def test_a_large_span_is_asked_for_in_pieces() -> None:
    class Endless(io.RawIOBase):
        most, left = 0, 200 << 20

        def read(self, size: int = -1, /) -> bytes:
            self.most = max(self.most, size)
            given = min(size, self.left)
            self.left -= given
            return bytes(given)

    stream = Endless()
    assert len(read_span(stream, 10**10)) == 200 << 20  # type: ignore[arg-type]
    assert stream.most == 16 << 20


def test_a_sidecar_comes_back_as_it_was(tmp_path: Path) -> None:
    _, writer = written(["a", "b"])
    sidecar = writer.sidecar("shard-000000.tar", [Failure("c", "empty file (0 bytes)")], RECIPE)
    url = str(tmp_path / "shard-000000.json")
    save_sidecar(url, sidecar)
    assert load_sidecar(url) == sidecar


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not a shard's sidecar \\(not JSON: EOF"),
        (b"[]", "input should be an object, found a list"),
        (b"\xff", "not a shard's sidecar \\(not JSON"),
        (b"[" * 100_000, "not JSON: recursion limit exceeded"),
        (b"{}", "format version None, this program reads version 1"),
        (b'{"format": 4}', "format version 4, this program reads version 1, 2 of an index and 3 of films"),
        (b'{"format": 1}', "not a shard's sidecar"),
    ],
)
def test_a_malformed_sidecar_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "shard-000000.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        load_sidecar(str(file))
    assert str(file) in str(caught.value)


def test_a_row_with_another_field_is_malformed(tmp_path: Path) -> None:
    _, writer = written(["a"])
    file = tmp_path / "shard-000000.json"
    save_sidecar(str(file), writer.sidecar("shard-000000.tar", [], RECIPE))
    content = json.loads(file.read_text())
    content["samples"][0]["extra"] = 1
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"samples\.0\.extra"):
        load_sidecar(str(file))

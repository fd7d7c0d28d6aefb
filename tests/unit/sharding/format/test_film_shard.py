"""Shards of films: what a reader refuses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from isal import isal_zlib

from sharding import storage
from sharding.errors import UserError
from sharding.format import kinds, manifest
from sharding.format.rows import FilmRow
from sharding.format.shard import Writer, unpack_film
from sharding.format.sidecar import Failure, JpegShard, Place, Recipe, load_sidecar, save_sidecar

META = {"label": 1, "frames": 5, "width": 32, "height": 24, "fps": 12.0}
RECIPE = Recipe("test", "train", ["a", "b"], {"store": "film", "samples_per_shard": 1}, "", 1)


def written(
    meta: dict[str, Any] | None = None, key: str = "one", ending: str = "webm"
) -> tuple[Writer, bytes]:
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.add_film(key, META | (meta or {}), ending, b"a film")
    return writer, stream.getvalue()


def row_of(span: bytes, **changes: Any) -> FilmRow:
    about = {
        "key": "one",
        "offset": 0,
        "bytes": len(span),
        "crc32": isal_zlib.crc32(span),
        "label": 1,
        "frames": 5,
    }
    return FilmRow(**(about | changes))


def test_a_film_comes_back_as_it_was() -> None:
    writer, span = written()
    (row,) = writer.rows
    assert isinstance(row, FilmRow) and row == row_of(span)
    meta, film = unpack_film(row, span)
    assert (meta.label, meta.frames, meta.width, meta.height, meta.fps) == (1, 5, 32, 24, 12.0)
    assert (film.name, bytes(film.content)) == ("one.webm", b"a film")
    assert json.loads(bytes(film.text)) == META


@pytest.mark.parametrize(
    ("meta", "ending", "says"),
    [
        ({"frames": 6}, "webm", "disagree on frames or label"),
        ({"label": 0}, "webm", "disagree on frames or label"),
        ({"width": 0}, "webm", "its JSON: width"),
        ({"width": 70_000}, "webm", "its JSON: width"),
        ({"width": 65_000, "height": 65_000}, "webm", "65000x65000 pixels, more than"),
        ({"height": "24"}, "webm", "its JSON: height"),
        ({}, "a/b", "expected the film one at byte 1024, found b'one.a/b'"),
        ({}, "", "expected the film one at byte 1024"),
    ],
)
def test_what_is_not_so_of_a_film_is_refused(meta: dict[str, Any], ending: str, says: str) -> None:
    _, span = written(meta, ending=ending)
    with pytest.raises(ValueError, match=says):
        unpack_film(row_of(span), span)


def test_another_sample_or_a_cut_one_is_refused() -> None:
    _, span = written(key="two")
    with pytest.raises(ValueError, match=r"expected member one\.json at byte 0"):
        unpack_film(row_of(span), span)
    _, span = written()
    with pytest.raises(ValueError, match="CRC-32 differs"):
        unpack_film(row_of(span), span[:-512])
    cut, longer = span[:-512], span + bytes(512)
    with pytest.raises(ValueError, match=r"member one\.webm ends at byte 2048 of 1536"):
        unpack_film(row_of(cut), cut)
    with pytest.raises(ValueError, match="512 bytes follow the sample"):
        unpack_film(row_of(longer), longer)


@pytest.mark.parametrize("jpeg", [None, JpegShard(10_240, "0" * 64)])
def test_files_of_films_come_back_and_are_not_taken_for_others(
    tmp_path: Path, jpeg: JpegShard | None
) -> None:
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.add_film("one", META, "webm", b"a film")
    writer.finish()
    place = Place(str(tmp_path), "shard-000000.tar")
    storage.write_bytes(place.tar_url, stream.getvalue())
    sidecar = writer.film_sidecar(place.tar_name, [Failure("c", "empty file (0 bytes)")], RECIPE, jpeg)
    save_sidecar(place.sidecar_url, sidecar)
    assert load_sidecar(place.sidecar_url) == sidecar
    made = manifest.finalize(str(tmp_path))
    assert made.of_films and made.shards[0].becomes() == jpeg
    assert made.sidecar(0) == sidecar
    for file in (place.sidecar_url, str(tmp_path / "manifest.json")):
        text = Path(file).read_text()
        assert ('"jpeg"' in text) == (jpeg is not None)
        for wrong, says in [
            (text.replace('"format": 3', '"format": 1').replace('"jpeg"', '"other"'), "disagree|unexpected"),
            (text.replace('"store": "film"', '"store": "jpeg"'), "its format and its settings disagree"),
        ]:
            Path(file).write_text(wrong)
            with pytest.raises(UserError, match=says):
                load_sidecar(file) if "shard-" in file else manifest.load(file)
        Path(file).write_text(text)


def test_the_format_of_films_has_a_number_of_its_own() -> None:
    formats = [kinds.format_of(settings) for settings in ({}, kinds.of_indexed_tars({}), {"store": "film"})]
    assert formats == [1, 2, 3]

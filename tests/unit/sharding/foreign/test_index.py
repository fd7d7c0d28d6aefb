"""Indexes of tars that others made."""

from pathlib import Path

from sharding import storage
from sharding.foreign import sample
from sharding.format.shard import IndexedRow
from tests import foreign


def test_the_layout_of_img2dataset(tmp_path: Path) -> None:
    foreign.img2dataset(tmp_path / "tars", [3, 2])
    made = foreign.indexed([tmp_path / "tars"], tmp_path / "index" / "train", label="txt")
    assert (made.samples, made.classes) == (5, ["class-0", "class-1", "class-2"])
    for i, sidecar in enumerate(made.sidecars()):
        whole = storage.read_bytes(made.shard_url(i))
        for row in sidecar.samples:
            assert isinstance(row, IndexedRow)
            _, frames = sample.unpack(row, whole[row.offset : row.offset + row.bytes])
            frames.check((48, 40))
    assert [row.key for row in made.sidecar(1).samples] == ["000010000", "000010001"]
    assert [row.label for row in made.sidecar(1).samples] == [0, 1]

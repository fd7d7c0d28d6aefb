"""Any sample by its number, by hand and in the processes of torch's DataLoader."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.streaming import ShardDataset
from pipeline.streaming.rows import Rows
from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.rows import IndexedRow, SampleRow
from tests import shards
from tests.unit.pipeline.streaming import transforms


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return shards.make(tmp_path_factory.mktemp("set"), [4, 1, 5])


def test_every_sample_is_there(split: Manifest) -> None:
    dataset = ShardDataset(split.root, transforms.number)
    assert len(dataset) == 10
    assert dataset.classes == shards.CLASSES
    found = [dataset[i] for i in range(len(dataset))]
    assert [(number, int(label)) for number, label in found] == [(i, i % 3) for i in range(10)]
    assert dataset[-1][0] == 9
    assert dataset[np.int64(3)][0] == dataset[torch.tensor(3)][0] == 3
    for number in (10, -11):
        with pytest.raises(IndexError, match=f"sample {number} of 10"):
            dataset[number]
    with pytest.raises(TypeError, match="'slice' object cannot be interpreted as an integer"):
        dataset[2:4]  # type: ignore[index]


def test_a_video_tells_what_is_known(split: Manifest) -> None:
    video = ShardDataset(split.root, transforms.number).video(6)
    assert (video.key, video.label, video.frames, video.width, video.height, video.fps) == (
        "clip-6",
        0,
        12,
        48,
        40,
        12.0,
    )
    assert video.url == split.shard_url(2)
    assert video.decode([1], (8, 4, 16, 10)).shape == (1, 10, 16, 3)
    assert video.jpegs()[2][:2] == b"\xff\xd8"
    first, second = video.decode([0]), video.decode([5])
    assert first[0, 20, 20, 1] != second[0, 20, 20, 1]  # each in memory of its own
    for number in (12, -1):
        for asked in (video.decode, video.jpegs):
            with pytest.raises(IndexError, match=f"frame {number} of 12"):
                asked([0, number])
    for box in ((40, 0, 16, 16), (0, 32, 16, 16), (-1, 0, 4, 4), (0, 0, 0, 4)):
        with pytest.raises(ValueError, match=r"the box .* does not lie in frames of 48x40"):
            video.decode([0], box)


def test_rows_are_kept_as_they_are_in_less_than_half_their_memory() -> None:
    def rows(count: int, parts: int) -> list[SampleRow]:
        return [
            IndexedRow(f"n01440764/{i:08d}", 999 * i, 99_000 + i, 4001 * i, i % 7 if parts == 1 else (1, i + 2), parts,
                       "pictures", 500, 300 + i, [(1536 + n, 40_000 + i) for n in range(parts)])
            for i in range(count)
        ]  # fmt: skip

    several = Rows.of([*rows(9, 3), *rows(9, 1)])
    assert [several.row(i) for i in range(18)] == [*rows(9, 3), *rows(9, 1)]
    assert [type(value) for value in vars(several.row(3)).values()] == [
        *(str, int, int, int, tuple, int, str, int, int, list)
    ]
    tracemalloc.start()
    pictures = rows(5000, 1)
    whole, _ = tracemalloc.get_traced_memory()
    kept = Rows.of(pictures)
    del pictures
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.row(1).label == 1
    assert left < 0.4 * whole


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_data_loader_s_processes_read_it(split: Manifest, start: str) -> None:
    dataset = ShardDataset(split.root, transforms.arrays)
    dataset[0]  # what this process has read is its own
    loader = DataLoader(dataset, batch_size=5, num_workers=2, shuffle=True, multiprocessing_context=start)
    batches = list(loader)
    assert [made["frames"].shape for made, _ in batches] == [(5, 2, 40, 48, 3)] * 2
    assert sorted(label for _, labels in batches for label in labels.tolist()) == [0] * 4 + [1] * 3 + [2] * 3


def test_random_numbers_follow_from_torch(split: Manifest) -> None:
    dataset = ShardDataset(split.root, transforms.arrays)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(dataset[0][0]["draw"].tolist())
    assert draws[0] == draws[1] != draws[2]
    assert draws[0] != dataset[0][0]["draw"].tolist()


def test_a_damaged_sample_and_a_failing_transform_name_shard_and_key(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [12])
    url, row = split.shard_url(0), split.sidecar(0).samples[2]
    tar = bytearray(storage.read_bytes(url))
    tar[row.offset + row.bytes // 2] ^= 255
    storage.write_bytes(url, bytes(tar))
    dataset = pickle.loads(pickle.dumps(ShardDataset(split.root, transforms.failing)))
    with pytest.raises(UserError, match=f"{url}: sample clip-2, .* damaged"):
        dataset[2]
    with pytest.raises(UserError, match=f"{url}: sample clip-11: the transform failing failed: ZeroDivision"):
        dataset[11]
    assert dataset[0][0] == -1

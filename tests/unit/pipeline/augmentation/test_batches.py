"""A rank's batches, changed: the same on any number of ranks, with several clips of each video too."""

from dataclasses import replace

import pytest
import torch

from pipeline.augmentation.batches import changer
from pipeline.config import Augment
from pipeline.data.batch import Batch
from pipeline.data.stream import empty_clips
from pipeline.order import plan

VIDEOS, SIZE = 8, 32
Clip = tuple[torch.Tensor, int, int, float]


def loaded(rank: int, ranks: int, repeats: int, epoch: int = 1, step: int = 3) -> Batch:
    """As the loader hands it over; clips are the same in all epochs and steps."""
    numbers = list(plan.numbers(step * VIDEOS, (step + 1) * VIDEOS, rank, ranks))
    shape = (2, 3, SIZE, SIZE) if repeats == 1 else (repeats, 2, 3, SIZE, SIZE)
    clips = empty_clips(len(numbers), shape)
    for clip, number in zip(clips, numbers, strict=True):
        generator = torch.Generator().manual_seed(number % VIDEOS)
        clip.copy_(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))
    labels = torch.tensor([number % VIDEOS for number in numbers])
    return Batch(epoch, step, numbers, [f"clip-{number}" for number in numbers], labels, clips)


def changed(
    ranks: int, repeats: int, augment: Augment, epoch: int = 1, seed: int = 5
) -> dict[tuple[int, int], Clip]:
    """Every clip of a step, its label, its other label and the share of that, by sample's number and repeat."""
    found = {}
    for rank in range(ranks):
        batch = changer(augment, seed, repeats)(loaded(rank, ranks, repeats, epoch))
        assert batch.clips.shape == (len(batch.numbers) * repeats, 2, 3, SIZE, SIZE)
        assert batch.mixed is not None
        rows = zip(batch.clips, batch.labels, batch.mixed.labels, batch.mixed.shares, strict=True)
        for i, (clip, label, other, share) in enumerate(rows):
            found[batch.numbers[i // repeats], i % repeats] = clip, int(label), int(other), float(share)
    return found


ALL = Augment(operations=2, jitter=0.3, mixup=0.5)


def same(one: Clip, other: Clip) -> bool:
    return torch.equal(one[0], other[0]) and one[1:] == other[1:]


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("repeats", [1, 3])
def test_clips_are_the_same_on_any_number_of_ranks(ranks: int, repeats: int) -> None:
    one, more = changed(1, repeats, ALL), changed(ranks, repeats, ALL)
    assert len(one) == VIDEOS * repeats
    assert one.keys() == more.keys()
    assert all(same(one[clip], more[clip]) for clip in one)


def test_they_change_with_the_epoch_and_the_seed() -> None:
    one = changed(1, 1, ALL)
    for others in (changed(1, 1, ALL, epoch=2), changed(1, 1, ALL, seed=6)):
        assert sum(same(one[clip], others[clip]) for clip in one) < VIDEOS / 2


def test_clips_of_a_video_keep_its_label_and_are_changed_each_its_own_way() -> None:
    found = changed(1, 3, ALL)
    for (number, _), (_, label, other, _) in found.items():
        assert label == number % VIDEOS
        assert abs(label - other) == VIDEOS // 2
    shares = [{found[number, repeat][3] for repeat in range(3)} for number in {n for n, _ in found}]
    assert all(len(three) == 3 for three in shares)


def test_several_labels_stay_with_their_clips() -> None:
    batch = loaded(0, 1, 3)
    rows = torch.eye(VIDEOS, dtype=torch.int8)[batch.labels]
    after = changer(ALL, 5, 3)(replace(batch, labels=rows))
    alone = changer(ALL, 5, 3)(loaded(0, 1, 3))
    assert after.mixed is not None and alone.mixed is not None
    assert after.labels.argmax(1).tolist() == alone.labels.tolist()
    assert after.mixed.labels.argmax(1).tolist() == alone.mixed.labels.tolist()
    assert (after.mixed.labels.sum(1) == 1).all() and torch.equal(after.mixed.shares, alone.mixed.shares)


def test_nothing_is_done_unless_it_is_asked_for() -> None:
    batch = loaded(0, 1, 1)
    before = batch.clips.clone()
    after = changer(Augment(), 0)(batch)
    assert after is batch
    assert torch.equal(after.clips, before)

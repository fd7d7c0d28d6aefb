"""Mixup: pairs and shares that depend on no rank, both of a pair alike, and no float batch."""

import pytest
import torch

from pipeline.augmentation import mixing
from pipeline.order import plan, position
from sharding.errors import UserError

BATCH = 12


def mixed(ranks: int, epoch: int = 3, step: int = 2) -> dict[int, tuple[torch.Tensor, int, float]]:
    """Each sample's clip, other label and share, as `ranks` ranks make them; sample n is n and has label n."""
    found = {}
    for rank in range(ranks):
        numbers = list(plan.numbers(step * BATCH, (step + 1) * BATCH, rank, ranks))
        clips = torch.tensor(numbers, dtype=torch.uint8).view(-1, 1, 1, 1, 1).repeat(1, 2, 3, 4, 4)
        amounts = mixing.shares(0.8, 7, epoch, [(number, 0) for number in numbers])
        blend = mixing.mix(clips, torch.tensor(numbers), amounts)
        for i, number in enumerate(numbers):
            found[number] = clips[i], int(blend.labels[i]), float(blend.shares[i])
    return found


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_it_is_the_same_on_any_number_of_ranks(ranks: int) -> None:
    position.check_pairs(BATCH, ranks)
    one, more = mixed(1), mixed(ranks)
    assert one.keys() == more.keys()
    for number, (clip, label, share) in one.items():
        assert torch.equal(clip, more[number][0])
        assert (label, share) == more[number][1:]


def test_each_takes_its_share_of_the_clip_half_a_batch_away() -> None:
    found = mixed(1)
    for number, (clip, label, share) in found.items():
        assert abs(label - number) == BATCH // 2
        assert 0 <= share <= 0.5
        assert found[label][1:] == (number, share)
        assert clip.unique().tolist() == [round((1 - share) * number + share * label)]
    assert len({share for _, _, share in found.values()}) == BATCH // 2


def test_shares_follow_the_distribution() -> None:
    clips = [(number, 0) for number in range(4000)]
    for mixup, expected in ((0.2, 0.104), (1.0, 0.25)):  # the mean of min(x, 1 - x)
        amounts = mixing.shares(mixup, 0, 0, clips)
        assert len(amounts) == 4000
        assert sum(amounts) / 4000 == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("batch", "ranks"), [(64, 64), (6, 2), (9, 1)])
def test_a_rank_with_half_a_pair_is_a_mistake(batch: int, ranks: int) -> None:
    with pytest.raises(
        UserError, match=rf"augment\.mixup: .* choose an optim\.global_batch that {2 * ranks} divides"
    ):
        position.check_pairs(batch, ranks)

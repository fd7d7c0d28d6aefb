import signal

import pytest

from sharding.building.losses import Losses
from sharding.errors import UserError
from sharding.workers.pool import Lost


def lost(exitcode: int | None, step: str | None = "17") -> Lost[str]:
    return Lost("task", step, exitcode)


def test_a_video_over_the_time_limit_is_left_out_at_once() -> None:
    skipped, message = Losses(60).judge(lost(None), "shard-000003.tar")
    assert skipped == {"17": "not decoded within 60 s"}
    assert "shard-000003.tar, video 17" in message


def test_a_crash_is_tried_again_once_and_then_the_videos() -> None:
    losses = Losses(60)
    assert losses.judge(lost(-signal.SIGSEGV), "s")[0] == {}
    assert losses.judge(lost(-signal.SIGSEGV, "18"), "s")[0] == {}
    assert losses.judge(lost(-signal.SIGSEGV), "s")[0] == {"17": "the decoder crashed (SIGSEGV)"}


def test_many_broken_videos_of_a_shard_are_each_left_out() -> None:
    losses = Losses(60)
    for key in map(str, range(10)):
        losses.judge(lost(-signal.SIGSEGV, key), "s")
        assert list(losses.judge(lost(-signal.SIGSEGV, key), "s")[0]) == [key]


@pytest.mark.parametrize("exitcode", [-signal.SIGKILL, -signal.SIGTERM, 1])
def test_a_worker_that_is_killed_three_times_ends_the_build(exitcode: int) -> None:
    losses = Losses(60)
    for step in ("1", None):
        skipped, message = losses.judge(lost(exitcode, step), "s")
        assert skipped == {} and "begins again" in message
    assert losses.judge(lost(exitcode), "other")[0] == {}
    with pytest.raises(UserError, match=r"s, video 17: its worker was ended .* 3 times .* fewer --workers"):
        losses.judge(lost(exitcode), "s")


def test_a_video_whose_worker_is_killed_twice_is_left_out() -> None:
    losses = Losses(60)
    for key in map(str, range(5)):  # more than the losses that end a build
        assert losses.judge(lost(-signal.SIGKILL, key), "s")[0] == {}
        skipped, message = losses.judge(lost(-signal.SIGKILL, key), "s")
        assert skipped == {
            key: "its worker was killed twice (SIGKILL): it takes too much memory, most likely"
        }
        assert "without it" in message

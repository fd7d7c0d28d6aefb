"""What a run says of itself: what it is, what changed, what is odd, what to do next."""

import os
import shlex
from dataclasses import replace

import pytest

from pipeline import config
from pipeline.order.position import Position
from pipeline.run.provenance import Rank
from pipeline.training import announce
from sharding.format.manifest import FilmShardRow, Manifest
from sharding.format.sidecar import JpegShard

RANKS = [Rank("n1", "NVIDIA H100"), Rank("n1", "NVIDIA H100"), Rank("n2", "NVIDIA H100"), Rank("n2", "CPU")]
AT = Position("0" * 64, 3, lanes=16, window=64, global_batch=64, steps_in_epoch=10, done=25, run_window=1024)


def settings(**changes: object) -> config.Config:
    words = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    return config.override({"data": {"root": "s3://b/set"}, "run": {"folder": "s3://b/run"}}, words, "test")


def split(name: str, samples: int) -> Manifest:
    return Manifest(
        f"s3://b/set/{name}", "csv", name, ["a", "b"], {}, [], [], samples, 0, samples * 10**6, "0" * 64
    )


def test_the_block_at_the_start_says_on_what_of_what_from_where_to_where() -> None:
    lines = announce.introduction(settings(), AT, split("train", 700), split("validation", 80), RANKS)
    text = "\n".join(lines)
    assert "depth 50, clips of 16 frames at 224x224" in text
    assert "4 (3 x NVIDIA H100, 1 x CPU), bf16, on 2 hosts: n1, n2" in text
    assert "s3://b/set/train: 700 videos, 2 classes; 80 videos to validate" in text
    assert "seed 3, 16 lanes of window 64, 4 loader processes a rank" in text
    assert "10 of 64 clips in each of 50 epochs, from step 26 to 500" in text
    assert "s3://b/run" in lines[-1]
    assert "films" not in text
    done = AT.after(500)
    assert "all 500 are done" in "\n".join(
        announce.introduction(settings(), done, split("train", 700), split("validation", 80), RANKS)
    )


def test_the_block_says_what_reading_takes_of_a_node_and_how_often_each_byte_is_read() -> None:
    def told(at: Position, **changes: object) -> str:
        lines = announce.introduction(
            settings(**changes), at, split("train", 7000), split("validation", 80), RANKS
        )
        (line,) = (line for line in lines if line.startswith("  reading "))
        return line.removeprefix("  reading  ")

    # two ranks of the four are on a node, with 8 of the 16 lanes, each of which holds up to 64 samples of 1 MB
    assert told(AT) == (
        "on a node 8 connections, and samples of up to 512.0 MB wait for their turn; each byte is read once an epoch"
    )
    more = told(replace(AT, lanes=64, window=16), data__workers=12, data__cache="/c", data__cache_gb=3.5)
    assert more == (
        "on a node 96 connections, and samples of up to 1.5 GB wait for their turn; each byte is read 3 times an "
        "epoch, later epochs from the cache, which has room for 50%"
    )


@pytest.mark.parametrize(
    ("films", "jpeg", "said", "held"),
    [
        ("decode", JpegShard(70 * 10**9, "0" * 64), "decoded for each clip", "512.0 MB"),
        ("jpeg", JpegShard(70 * 10**9, "0" * 64), "turned to JPEGs, 70.0 GB in all", "5.1 GB"),
        ("jpeg", None, "turned to JPEGs, whose size the build did not compute", "512.0 MB"),
    ],
)
def test_the_block_says_what_becomes_of_films(
    films: str, jpeg: JpegShard | None, said: str, held: str
) -> None:
    shard = FilmShardRow("shard-000000.tar", 7 * 10**9, "0" * 64, 7000, 7000, jpeg)
    made = replace(split("train", 7000), settings={"store": "film"}, shards=[shard])
    lines = announce.introduction(
        settings(data__films=films, data__cache="/c"), AT, made, split("validation", 80), RANKS
    )
    text = "\n".join(lines)
    assert f"  films    {said}" in text and f"samples of up to {held} wait" in text


def test_a_run_begun_with_a_window_for_each_lane_is_said_to_have_kept_it() -> None:
    before = settings(data__window=256).model_dump(mode="json", by_alias=True)
    assert len(announce.resumption(settings(), replace(AT, window=256, run_window=None), before)) == 1
    assert len(announce.resumption(settings(), AT, before)) == 2


def test_a_resume_names_every_change() -> None:
    before = settings(optim__lr=0.05).model_dump(mode="json", by_alias=True)
    now = settings(optim__schedule="constant", data__flip="none")
    first, second = announce.resumption(now, AT, before)
    assert first == "resuming s3://b/run after 25 steps"
    changed = "data.flip label -> none; optim.lr 0.05 -> 0.01; optim.schedule cosine -> constant"
    assert second == f"  changed since then: {changed}"
    assert announce.resumption(settings(optim__lr=0.05), AT, before) == [first]


def test_a_resumed_run_names_a_setting_that_the_checkpoint_did_not_know() -> None:
    before = settings().model_dump(mode="json", by_alias=True)
    del before["augment"], before["data"]["repeats"]
    told = announce.resumption(settings(augment__operations=2, data__repeats=3), AT, before)
    assert told[1:] == ["  changed since then: augment.operations 0 -> 2; data.repeats 1 -> 3"]
    assert len(announce.resumption(settings(), AT, before)) == 1


def test_clips_of_a_step_are_those_of_all_its_videos() -> None:
    lines = announce.introduction(
        settings(data__repeats=2), AT, split("train", 700), split("validation", 80), RANKS
    )
    assert "10 of 128 clips in each of 50 epochs" in "\n".join(lines)


def test_more_loader_processes_than_cores_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert announce.warnings(settings(), AT, RANKS) == []
    (told,) = announce.warnings(settings(data__workers=8), AT.after(0), RANKS[:2])
    assert told.startswith("2 ranks x 8 loader processes on 8 cores of this host")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"optim__schedule": "multistep", "optim__milestones": "[20,60]"},
            "optim.milestones: [60] are not reached",
        ),
        ({"optim__warmup_epochs": 50}, "optim.warmup_epochs: the rate still grows when the 50 epochs end"),
        ({"optim__ema_decay": 0.9999}, "0.9999 averages over some 10000 steps, and the run has 500"),
        ({"data__validation": "train"}, "train is what the run trains on"),
        (
            {"data__sampling": "dense", "data__dense_stride": 5, "views__sampling": "dense"},
            "one frame of every 5, and those of validation do not; views.sampling=dense views.dense_stride=5 makes",
        ),
        ({"data__sampling": "dense"}, "views.sampling=dense views.dense_stride=2 makes them alike"),
    ],
)
def test_what_is_odd_is_warned_of(changes: dict[str, object], says: str) -> None:
    assert announce.oddities(settings(), 500) == []
    (told,) = announce.oddities(settings(**changes), 500)
    assert says in told


@pytest.mark.parametrize("seen", ["random", "dense"])
def test_dense_clips_that_are_validated_as_they_are_trained_on_are_not_odd(seen: str) -> None:
    assert announce.oddities(settings(data__sampling="dense", views__sampling=seen), 500) == []


def test_the_end_says_what_is_best_and_what_to_do_next() -> None:
    first, *commands = announce.farewell(settings(), {"top1": 59.123, "step": 400})
    assert first == "done: best validation top-1 59.12 % after step 400: s3://b/run/checkpoints/best.json"
    assert (
        "pipeline.evaluate --checkpoint s3://b/run/checkpoints/best.json --data s3://b/set/validation"
        in commands[0]
    )
    assert "pipeline.report s3://b/run" in commands[1]


def test_the_commands_at_the_end_can_be_typed_as_they_stand() -> None:
    _, *commands = announce.farewell(settings(run__folder="/runs/my first run"), {"top1": 1.0, "step": 4})
    words = [shlex.split(command) for command in commands]
    assert words[0][-1] == "/runs/my first run" == words[1][-1]
    assert "/runs/my first run/checkpoints/best.json" in words[0]

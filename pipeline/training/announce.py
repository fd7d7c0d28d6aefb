"""What a run says of itself before its first step and after its last: on what, of what, from where to where."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data.films import as_read
from pipeline.data.splits import Mixed, bytes_a_sample
from pipeline.order.plan import readers_per_lane
from pipeline.order.position import Position, epoch_samples
from pipeline.order.reads import reads
from pipeline.run.provenance import Rank, changes
from sharding.format.manifest import Manifest


def introduction(
    config: Config,
    at: Position,
    train_set: Manifest,
    validation_set: Manifest,
    ranks: list[Rank],
    mixed: Sequence[Mixed] = (),
) -> list[str]:
    """The block of lines at the start."""
    model, data, optim = config.model, config.data, config.optim
    hosts = list(dict.fromkeys(rank.host for rank in ranks))
    devices = ", ".join(f"{count} x {name}" for name, count in Counter(rank.device for rank in ranks).items())
    where = f"host {hosts[0]}" if len(hosts) == 1 else f"{len(hosts)} hosts: {', '.join(hosts)}"
    total = at.steps_in_epoch * optim.epochs
    to_do = f"from step {at.done + 1} to {total}" if at.done < total else f"all {total} are done"
    clips = at.global_batch * data.repeats
    frames = "frames" if model.in_channels == 3 else "frames of optical flow"
    takes = f"clips of {model.num_frames} {frames}" if model.num_frames > 1 else "images"
    several = ", several labels a video" if train_set.several_labels else ""
    as_they_are_read = [replace(one, split=as_read(data, one.split)) for one in mixed]
    rows = [
        ("network", f"bLVNet-TAM depth {model.depth}, {takes} at {data.size}x{data.size}"),
        ("ranks", f"{len(ranks)} ({devices}), {config.run.precision}, on {where}"),
        ("data", f"{train_set.root}: {train_set.samples} videos, {len(train_set.classes)} classes{several}; "
                 f"{validation_set.samples} videos to validate"),
        *mixture(train_set, mixed),
        ("order", f"seed {at.seed}, {at.lanes} lanes of window {at.window}, {data.workers} loader processes a rank"),
        *_films(config, [train_set, *(one.split for one in mixed)]),
        ("reading", _reading(config, at, as_read(data, train_set), ranks, as_they_are_read)),
        ("steps", f"{at.steps_in_epoch} of {clips} clips in each of {optim.epochs} epochs, {to_do}"),
        ("folder", config.run.folder),
    ]  # fmt: skip
    return [f"  {name:<8} {text}" for name, text in rows]


def _films(config: Config, splits: Sequence[Manifest]) -> list[tuple[str, str]]:
    """What becomes of films, if there are any."""
    films = [split for split in splits if split.of_films]
    if not films:
        return []
    if config.data.films == "decode":
        return [("films", "decoded for each clip")]
    read = [as_read(config.data, split) for split in films]
    if any(turned is split for turned, split in zip(read, films, strict=True)):
        return [("films", "turned to JPEGs, whose size the build did not compute: more than is said below")]
    return [("films", f"turned to JPEGs, {sum(split.bytes for split in read) / 1e9:.1f} GB in all")]


def mixture(train_set: Manifest, mixed: Sequence[Mixed]) -> list[tuple[str, str]]:
    """What is mixed, a row for each set, with its samples and its share of an epoch; none where there is one alone."""
    if not mixed:
        return []
    total = epoch_samples(train_set, mixed)
    rows = [
        ("mixture", f"{total} videos an epoch: {train_set.samples / total:.1%} of them from {train_set.root}")
    ]
    for number, one in enumerate(mixed, 1):
        of = f"{one.samples} from the {one.split.samples} of {one.split.root}"
        rows.append(("", f"{one.samples / total:.1%}: {of}, weight {one.weight:g} (set {number})"))
    return rows


def _reading(
    config: Config, at: Position, train_set: Manifest, ranks: list[Rank], mixed: Sequence[Mixed]
) -> str:
    """What reading takes of the node with the most ranks, and how often each byte is read."""
    workers = max(config.data.workers, 1)
    most = max(Counter(rank.host for rank in ranks).values())
    consumers, here = len(ranks) * workers, most * workers
    needs = reads(at.order, at.samples_of(train_set), consumers, here, 1 + len(mixed))
    held = needs.held * bytes_a_sample(train_set, mixed)
    size = f"{held / 1e9:.1f} GB" if held >= 1e9 else f"{held / 1e6:.1f} MB"
    times = "once" if needs.times == 1 else f"{needs.times} times"
    what = "what an epoch takes is" if mixed else "each byte is"
    kept = ""
    if config.data.cache:
        share = min(
            1.0, config.data.cache_gb * 1e9 / (train_set.bytes + sum(one.split.bytes for one in mixed))
        )
        kept = f", later epochs from the cache, which has room for {share:.0%}"
    when = "" if mixed else " an epoch"
    return (
        f"on a node {needs.lanes} connections, and samples of up to {size} wait for their turn; {what} "
        f"read {times}{when}{kept}"
    )


_BEFORE_0_2 = {"unbiased_norm": False, "norm_ranks": "main"}


def resumption(config: Config, at: Position, before: dict[str, Any]) -> list[str]:
    """What a run that goes on says: behind which step, and every setting that changed since the checkpoint.

    `before`: the configuration that the checkpoint kept. A setting that its version did not know was the default, but
    for those that say what every run did then.
    """
    lines = [f"resuming {config.run.folder} after {at.done} steps"]
    plain = configuration.defaults()
    plain["optim"] |= _BEFORE_0_2
    then = {section: {**plain[section], **before.get(section, {})} for section in plain}
    if (
        at.run_window is None
    ):  # it was given for each lane then, and the run keeps that whatever the setting says now
        then["data"]["window"] = config.data.window
    differ = changes(then, config.model_dump(mode="json", by_alias=True))
    if differ:
        lines.append(f"  changed since then: {'; '.join(differ)}")
    return lines


def warnings(config: Config, at: Position, ranks: list[Rank]) -> list[str]:
    """What a user should know before waiting for the run."""
    found = []
    consumers = len(ranks) * max(config.data.workers, 1)
    if (readers := readers_per_lane(consumers, at.lanes)) > 1:
        found.append(
            f"{len(ranks)} ranks x {config.data.workers} workers do not divide the run's {at.lanes} lanes: "
            f"the shards are read {readers} times an epoch"
        )
    here, cores = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), len(os.sched_getaffinity(0))
    if here * config.data.workers > cores:
        found.append(
            f"{here} ranks x {config.data.workers} loader processes on {cores} cores of this host: they get in each "
            "other's way; lower data.workers, or give the job more cores"
        )
    return found + oddities(config, at.steps_in_epoch * config.optim.epochs)


def oddities(config: Config, steps: int) -> list[str]:
    """Settings that are allowed and most likely not meant, in a run of so many `steps`."""
    optim, data, found = config.optim, config.data, []
    if late := [epoch for epoch in optim.milestones if epoch >= optim.epochs]:
        found.append(f"optim.milestones: {late} are not reached in {optim.epochs} epochs")
    if optim.warmup_epochs >= optim.epochs:
        found.append(f"optim.warmup_epochs: the rate still grows when the {optim.epochs} epochs end")
    if optim.ema_decay is not None and (span := round(1 / (1 - optim.ema_decay))) > steps:
        found.append(
            f"optim.ema_decay: {optim.ema_decay} averages over some {span} steps, and the run has {steps}: what is "
            "evaluated is mostly the first weights"
        )
    views, stride = config.views, data.dense_stride
    alike = views.sampling == "random" or (views.sampling, views.dense_stride) == ("dense", stride)
    if data.sampling == "dense" and not alike:
        found.append(
            f"data.sampling: training clips take one frame of every {stride}, and those of validation do not; "
            f"views.sampling=dense views.dense_stride={stride} makes them alike"
        )
    if data.train == data.validation:
        found.append(f"data.validation: {data.validation} is what the run trains on; its scores say little")
    return found


def farewell(config: Config, best: dict[str, Any]) -> list[str]:
    """What is there at the end of a run, and what to do next; `best`: the content of `best.json`."""
    folder, data = config.run.folder, config.data
    if not best:
        return [f"done: {folder}"]
    file = f"{folder}/checkpoints/best.json"
    name, score = ("top-1", best["top1"]) if "top1" in best else ("mean average precision", best["map"])
    split, run = quote(f"{data.root}/{data.validation}"), quote(folder)
    return [
        f"done: best validation {name} {score:.2f} % after step {best['step']}: {file}",
        f"  next: python -m pipeline.evaluate --checkpoint {quote(file)} --data {split} --out {run}",
        f"        python -m pipeline.report {run}",
    ]


def say(lines: list[str]) -> None:
    """To the user."""
    print("\n".join(lines), flush=True)


def warn(texts: list[str]) -> None:
    """To the user, apart from what is printed."""
    for text in texts:
        print(f"warning: {text}", file=sys.stderr, flush=True)

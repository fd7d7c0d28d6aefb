"""The options of `blvnet-shard`."""

import argparse
import os
from pathlib import Path

from sharding import __version__
from sharding.arguments import Arguments, at_least_1, place
from sharding.lists.annotations import DATASETS


def parser() -> Arguments:
    """The options; `command` is the name of what is to be done."""
    parser = Arguments(
        prog="blvnet-shard",
        description="Videos to WebDataset shards. URLs are local paths, s3://, gs:// or azure://.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_build(commands.add_parser("build", help="decode videos once and pack them into shards"))
    _add_estimate(commands.add_parser("estimate", help="predict size, time and bandwidth before a build"))

    _add_index(commands.add_parser("index", help="make WebDataset tars of others readable, where they lie"))

    finalize = commands.add_parser("finalize", help="write the manifests of shards that several tasks built")
    finalize.add_argument("url", metavar="URL", type=place, help="the --out of the build")
    _add_split(finalize, "finish")
    _add_max_failures(finalize)

    verify = commands.add_parser("verify", help="check shards against their manifest and checksums")
    verify.add_argument("url", metavar="URL", type=place, help="the --out of the build")
    _add_split(verify, "check")
    _add_workers(verify)

    _add_inspect(commands.add_parser("inspect", help="look at shards: an HTML page of numbers and pictures"))

    _add_fingerprint(
        commands.add_parser("fingerprint", help="write what a shard set has to one small file, for compare")
    )
    _add_compare(commands.add_parser("compare", help="say how two shard sets differ, video by video"))

    demo = commands.add_parser("demo", help="render a small labelled video set to try things with")
    demo.add_argument("folder", metavar="DIR", type=place, help="where to write it")
    demo.add_argument("--seed", type=int, default=0, help="which of all such sets (default: 0)")
    return parser


def _add_build(build: argparse.ArgumentParser) -> None:
    build.description = (
        "Decode every video once, resize it and pack it into shards. An interrupted build goes on where it "
        "stopped; any number of workers and tasks gives the same bytes."
    )
    _add_what(build, "build", archives=True).add_argument(
        "--out", required=True, metavar="URL", type=place, help="where the shards go, one folder a split"
    )
    _add_settings(build)

    run = build.add_argument_group("how")
    _add_workers(run)
    run.add_argument(
        "--task-index",
        type=int,
        metavar="I",
        help="build only the shards of task I, 0 to N - 1 (default: SLURM's)",
    )
    run.add_argument(
        "--task-count",
        type=int,
        metavar="N",
        help="tasks in all; finalize ends the build (default: SLURM's, or 1)",
    )
    run.add_argument(
        "--repair",
        action="store_true",
        help="check the shards that are there; build the damaged ones again, and those with videos that failed",
    )
    run.add_argument(
        "--video-limit",
        type=_more_than_0,
        default=600.0,
        metavar="SECONDS",
        help="a video that takes longer is recorded as a failure (default: 600)",
    )
    run.add_argument(
        "--spool",
        type=_path,
        metavar="DIR",
        help="where the films of --archives are kept until the next build (default: beside --out, until it is done)",
    )
    _add_max_failures(run)


def _add_estimate(estimate: argparse.ArgumentParser) -> None:
    estimate.description = (
        "Pack a random sample of the videos as build would, and predict the size of the shards, the "
        "time of the build and the bandwidth that training needs. Nothing is written."
    )
    _add_what(estimate, "look at")
    _add_settings(estimate)
    run = estimate.add_argument_group("how")
    run.add_argument(
        "--videos-sampled",
        type=at_least_1,
        default=64,
        metavar="N",
        help="videos to try of each split (default: 64)",
    )
    run.add_argument(
        "--cores",
        type=at_least_1,
        default=_processors(),
        metavar="N",
        help="processors to predict the build's time for (default: those this process may use)",
    )
    run.add_argument(
        "--clips-per-second",
        type=_more_than_0,
        default=100.0,
        metavar="R",
        help="training speed to predict the bandwidth for (default: 100)",
    )


def _add_index(index: argparse.ArgumentParser) -> None:
    index.description = (
        "Read every tar once, and write an index of their samples: a sidecar a tar and a manifest. Training, verify "
        "and inspect then read the tars where they lie."
    )
    index.add_argument(
        "urls",
        nargs="+",
        metavar="URL",
        help="tars, folders of tars, or lists in braces: data/{000000..000099}.tar; in a store too, and https://",
    )
    index.add_argument(
        "--out",
        required=True,
        metavar="URL",
        type=place,
        help="the folder of the split that the index is: ROOT/train, to train with data.root=ROOT",
    )
    index.add_argument(
        "--label",
        metavar="WHERE",
        help="cls, txt, json:FIELD, csv:FILE with columns key and label, or none (default: cls, where there is one)",
    )
    index.add_argument(
        "--member",
        metavar="ENDING",
        help="the members that are read, such as jpg or front.mp4, where a sample has several kinds",
    )
    index.add_argument(
        "--classes",
        metavar="FILE",
        help="class names, one a line, or the manifest.json of another split (default: from the labels)",
    )
    index.add_argument(
        "--name",
        default="webdataset",
        metavar="NAME",
        help="what the data set is called (default: webdataset)",
    )
    _add_workers(index)
    _add_max_failures(index)


def _add_inspect(inspect: argparse.ArgumentParser) -> None:
    inspect.description = (
        "Write one HTML page about a shard set: counts, settings, histograms, failures, and pictures of random "
        "samples with their labels. Of the shards only those samples are read."
    )
    inspect.add_argument(
        "url", metavar="URL", type=place, help="the --out of the build, or one split's folder in it"
    )
    _add_split(inspect, "look at")
    inspect.add_argument(
        "--out", default="inspect.html", metavar="PAGE", type=place, help="the page (default: inspect.html)"
    )
    inspect.add_argument(
        "--samples",
        type=at_least_1,
        default=12,
        metavar="N",
        help="samples shown of each split (default: 12)",
    )
    inspect.add_argument(
        "--every",
        type=at_least_1,
        metavar="K",
        help="show every K-th frame of a sample (default: some ten, evenly)",
    )
    inspect.add_argument("--seed", type=int, default=0, help="decides which samples are shown (default: 0)")


def _add_fingerprint(fingerprint: argparse.ArgumentParser) -> None:
    fingerprint.description = (
        "Read every shard once, and write the frame count, size, rate, label and look of each sample to one small "
        "file."
    )
    fingerprint.add_argument("url", metavar="SET", help="the --out of the build, or one split's folder in it")
    fingerprint.add_argument("--out", required=True, metavar="FILE", help="where it goes, say set.npz")
    _add_split(fingerprint, "look at")
    _add_workers(fingerprint)


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.description = (
        "Name the videos that are missing, cut, extracted differently, changed in content or labelled differently "
        "in one of two sets. Other settings are said once. The exit status is 1 where a video differs."
    )
    for name in "ab":
        compare.add_argument(name, metavar=name.upper(), help="a shard set, or its fingerprint (.npz)")
    _add_split(compare, "look at")
    _add_workers(compare)
    compare.add_argument(
        "--most", type=at_least_1, default=10, metavar="N", help="videos named of each kind (default: 10)"
    )


def _add_what(command: argparse.ArgumentParser, verb: str, archives: bool = False) -> argparse._ArgumentGroup:
    source = command.add_argument_group("what")
    source.add_argument("--dataset", choices=DATASETS, required=True, help="the kind of annotations")
    source.add_argument(
        "--annotations",
        type=_path,
        required=not archives,
        metavar="PATH",
        help="folder of the annotation files (sthv1, sthv2), or a file path,label[,split,id,start,end] (csv)",
    )
    where = source.add_mutually_exclusive_group(required=True) if archives else source
    where.add_argument(
        "--videos",
        type=_path,
        required=not archives,
        metavar="DIR",
        help="folder of the videos, or of folders of JPEGs",
    )
    if archives:
        where.add_argument(
            "--archives",
            type=_path,
            metavar="DIR",
            help="folder of the archives as they were downloaded: zips, tars, parts of a tar.gz; sthv2's labels too",
        )
    _add_split(source, verb)
    source.add_argument(
        "--classes",
        type=_path,
        metavar="FILE",
        help="csv only: class names, one a line (default: from the csv)",
    )
    source.add_argument(
        "--label-separator",
        metavar="TEXT",
        help="csv only: each video has several labels, with this between them, such as ';'",
    )
    source.add_argument(
        "--only-classes",
        type=_path,
        metavar="FILE",
        help="keep the videos of these classes alone: names, one a line, which are numbered in this order",
    )
    source.add_argument(
        "--validation-share",
        type=_share,
        metavar="S",
        help="csv without a column split only: the share of its videos that become validation, such as 0.1",
    )
    return source


def _add_settings(command: argparse.ArgumentParser) -> None:
    picture = command.add_argument_group("settings (recorded in the manifest)")
    picture.add_argument(
        "--input",
        choices=("rgb", "flow", "image"),
        default="rgb",
        help="rgb: videos in colour; flow: folders of optical flow, gray JPEGs of x and y; image: single JPEGs "
        "(default: rgb)",
    )
    picture.add_argument(
        "--short-side",
        type=_pixels,
        default=256,
        metavar="PIXELS",
        help="size of the shorter side, or `source` for each video's own (default: 256)",
    )
    picture.add_argument("--no-enlarge", action="store_true", help="leave smaller videos as they are")
    picture.add_argument(
        "--quality", type=int, default=90, metavar="Q", help="JPEG quality, 1-100 (default: 90)"
    )
    picture.add_argument("--fps", type=float, metavar="R", help="thin faster videos to R frames a second")
    picture.add_argument(
        "--max-frames", type=int, metavar="K", help="at most K frames a video, evenly spread"
    )
    picture.add_argument(
        "--samples-per-shard", type=int, default=128, metavar="N", help="videos in a shard (default: 128)"
    )
    picture.add_argument(
        "--seed", type=int, default=0, help="decides the order of the videos over the shards (default: 0)"
    )
    picture.add_argument(
        "--follow-links", action="store_true", help="take videos that are links out of the video folder"
    )
    picture.add_argument(
        "--store",
        choices=("jpeg", "film"),
        default="jpeg",
        help="jpeg: every frame as a JPEG; film: the film's own bytes, far fewer, decoded when used (default: jpeg)",
    )
    picture.add_argument(
        "--jpeg-hash",
        action="store_true",
        help="with --store film: also compute the SHA-256 of the JPEG shards, which data.films=jpeg is checked against",
    )


def _add_split(command: argparse._ActionsContainer, verb: str) -> None:
    command.add_argument(
        "--split", action="append", metavar="SPLIT", help=f"{verb} this split; may be repeated (default: all)"
    )


def _add_workers(command: argparse._ActionsContainer) -> None:
    command.add_argument(
        "--workers",
        type=at_least_1,
        default=_processors(),
        metavar="N",
        help="processes (default: the processors this one may use)",
    )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _add_max_failures(command: argparse._ActionsContainer) -> None:
    command.add_argument(
        "--max-failures",
        default="0.1%",
        metavar="LIMIT",
        help="unusable videos, a number or a share, before the end is an error (default: 0.1%%)",
    )


def _pixels(text: str) -> int | None:
    return None if text == "source" else int(text)


def _more_than_0(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must be more than 0 and less than 1")
    return value


def _path(text: str) -> Path:
    return Path(place(text))

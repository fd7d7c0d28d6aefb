"""Three ways to train on films, through a store of 100, 1,000 and 10,000 Mbit/s: bytes, and two epochs' clips a second.

    python -m benchmarks.films [FOLDER] [--seconds 20] [--workers 2] > benchmarks/results/films.md

The films are those of `benchmarks.sharding`, with v2's size, bit rate and number of frames: 24 of them under 192 keys.
They are built as shards of JPEGs, and as shards of films with the hashes of those JPEGs. What a clip takes of a core is
measured in one process, as `pipeline.bench films` does. Then two epochs are read by loader processes, from a SeaweedFS
server through a proxy that gives all answers together so many Mbit/s. Both run on the same cores, which they would not
at a training. What the proxy can do at most is measured too: 10,000 Mbit/s are beyond it. FOLDER keeps films and
shards.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks import sharding, videos
from benchmarks.line import Line, line
from benchmarks.machine import cpu
from benchmarks.node_plan import left_cores
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.clips import train_cutter
from pipeline.data.films import shards_of
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.measuring import ways
from pipeline.measuring.film_rates import measure_films
from pipeline.measuring.rates import FilmRates
from pipeline.order import position
from sharding import storage
from sharding.building.build import Request, build
from sharding.building.settings import Settings
from sharding.format import manifest
from tests.stores import BUCKET, fresh_clients, seaweedfs

COPIES, BATCH, LANES, WINDOW, A_SHARD = 8, 8, 12, 48, 16
STORES = (100, 1_000, 10_000)  # Mbit/s
V2_VIDEOS = 220_847
KEPT = "JPEG shards, kept by the cache"
WAYS = {
    ways.JPEGS: ("jpegs", False, "decode"),
    KEPT: ("jpegs", True, "decode"),
    ways.DECODED: ("films", False, "decode"),
    ways.TURNED: ("films", True, "jpeg"),
}
"""Of each way the set, whether there is a cache, and `data.films`."""


@dataclass(frozen=True)
class Epoch:
    """Clips/s, and bytes that came over the network."""

    rate: float
    bytes: int


@dataclass(frozen=True)
class Row:
    """A run of two epochs; `cores`: those that other programs left before it."""

    store: int
    way: str
    cores: float
    epochs: list[Epoch]


@dataclass(frozen=True)
class Built:
    """A set of shards: its URL, and the seconds of a core that each video took; 0 where it was there already."""

    url: str
    video_s: float


def prepare(folder: Path) -> dict[str, Built]:
    """Films, and the sets of shards, in `folder`."""
    if not (folder / "films.csv").exists():
        rows = ["path,label,id"]
        (folder / "videos").mkdir(parents=True)
        for film in videos.SOURCES:
            name = Path(film).stem
            sharding.make(folder / "videos" / name, film, sharding.RATES[0])
            rows += [
                f"{name}/{number}.webm,class {number % 4},{name}-{number}-{copy}"
                for copy in range(COPIES)
                for number in range(sharding.VIDEOS)
            ]
        (folder / "films.csv").write_text("\n".join(rows) + "\n")
    made = {}
    for name, settings in {
        "jpegs": Settings(samples_per_shard=A_SHARD),
        "films": Settings(samples_per_shard=A_SHARD, store="film", jpeg_hash=True),
        "bare": Settings(samples_per_shard=A_SHARD, store="film"),
    }.items():
        out, before = str(folder / name), _children_s()
        summary = build(Request("csv", folder / "films.csv", folder / "videos", out, settings))
        made[name] = Built(out, (_children_s() - before) / max(summary.videos, 1))
    return made


def _children_s() -> float:
    """Seconds of the processor that ended child processes have had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def configured(root: str, cache: Path | None, films: str, workers: int) -> Config:
    """A training on one rank."""
    words = [f"data.root={root}", "run.folder=unused", f"optim.global_batch={BATCH}", f"data.lanes={LANES}"]
    words += [f"data.window={WINDOW}", f"data.workers={workers}"]
    if cache is not None:
        words += [f"data.cache={cache}", f"data.films={films}"]
    return configuration.load("blvnet-tam-50-f8x2-v2", words)


def run(config: Config, network: Line) -> list[Epoch]:
    """Two epochs of the loader of one rank, one after the other, each from its first batch on."""
    split = splits.load(config.data.root, config.data.train, "data.train")
    at = position.first(config, split, ranks=1)
    cutter, epochs = train_cutter(config, split.classes), []
    for epoch in range(2):
        passes, before = Passes(at.global_batch, epoch + 1, epoch), network.bytes()
        stream = ClipStream(split, cutter, at.order, passes, 0, 1, shards_of(config.data, split))
        made = batches(stream, config.data.workers)
        next(made)
        began = time.perf_counter()
        clips = sum(len(batch.numbers) for batch in made)
        epochs.append(Epoch(clips / (time.perf_counter() - began), network.bytes() - before))
    return epochs


def measured(sets: dict[str, str], network: Line, workers: int) -> list[Row]:
    """Every way through every store."""
    rows = []
    for store in STORES:
        for way, (name, has_cache, films) in WAYS.items():
            with tempfile.TemporaryDirectory(prefix="films-cache.") as cache:
                config = configured(sets[name], Path(cache) if has_cache else None, films, workers)
                cores = left_cores(os.cpu_count() or 1)
                network.limit(store / 8)
                rows.append(Row(store, way, cores, run(config, network)))
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def most(url: str, network: Line) -> float:
    """MB/s that the proxy gives one reader, at most."""
    network.limit(STORES[-1] / 8)
    split = manifest.load(f"{url}/train")
    began = time.perf_counter()
    size = sum(len(storage.read_bytes(split.shard_url(i))) for i in range(len(split.shards)))
    return size / (time.perf_counter() - began) / 1e6


def report(
    made: dict[str, Built],
    rates: FilmRates,
    rows: list[Row],
    mb_s: float,
    load: float,
    seconds: float,
) -> str:
    """The results file."""
    sizes = {name: manifest.load(f"{one.url}/train").bytes / rates.samples for name, one in made.items()}
    builds = [
        f"| {name} | {sizes[key] / 1e3:,.1f} kB | {sizes[key] * V2_VIDEOS / 1e9:,.0f} GB "
        f"| {1000 * made[key].video_s:.0f} ms |"
        for name, key in [("JPEGs", "jpegs"), ("films", "bare"), ("films, with --jpeg-hash", "films")]
    ]
    cores = [
        ("JPEGs", rates.jpeg_s, rates.jpeg_s),
        ("films, decoded when used", rates.film_s, rates.film_s),
        ("films, turned to JPEGs by the cache", rates.turn_s + rates.jpeg_s, rates.jpeg_s),
    ]
    table = []
    for row in rows:
        has_cache = WAYS[row.way][1]
        place = ways.Place(row.cores, min(row.store / 8, mb_s), 1e3 if has_cache else 0.0, epochs=2)
        name = ways.JPEGS if row.way == KEPT else row.way
        paper = next(way for way in ways.ways(rates, place) if way.name == name)
        first, second = row.epochs
        table.append(
            f"| {row.store:,} | {row.way} | {row.cores:.2f} | {first.rate:.1f} ({paper.first.rate:.1f}) "
            f"| {first.bytes / 1e6:,.0f} MB | {second.rate:.1f} ({paper.later.rate:.1f}) "
            f"| {second.bytes / 1e6:,.0f} MB |"
        )
    return f"""# Films in the shards

{date.today()}, {os.cpu_count()} cores ({cpu()}); `python -m benchmarks.films --seconds {seconds:g}`.
Load average before it: {load:.1f}.

{rates.samples} videos of {videos.FRAMES} frames, {videos.WIDTH}x{videos.HEIGHT} VP9 at v2's {sharding.RATES[0]} kb/s; \
JPEGs of 256 pixels' height at quality 90.

| shards of | a sample | all of v2 | built, of a core a video |
|---|---|---|---|
{chr(10).join(builds)}

## Of one core

Seconds of the processor, without those of reading; turning a film alone takes {1000 * rates.turn_s:.1f} ms.

| way | clips/s, first epoch | later epochs |
|---|---|---|
{chr(10).join(f"| {name} | {1 / first:.1f} | {1 / later:.1f} |" for name, first, later in cores)}

## Two epochs

Clips of 16 frames, 224x224; {BATCH} a step; the loader of one rank, {LANES} lanes. In brackets: what
`pipeline.plan --films` says of the cores that other programs left, measured before each run. It knows nothing of the
store and the proxy, which share them here. The proxy gives one reader {mb_s:.0f} MB/s at most \
({mb_s * 8:,.0f} Mbit/s).

| store, Mbit/s | way | cores | clips/s, first epoch | over the network | second epoch | over the network |
|---|---|---|---|---|---|---|
{chr(10).join(table)}
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.films")
    parser.add_argument("folder", nargs="?", type=Path, help="keeps the inputs (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for the rates of a core (default: 20)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default: 2)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="films-benchmark.") as temporary, seaweedfs() as server:
        made = prepare(args.folder or Path(temporary))
        rates = measure_films(configured(made["films"].url, None, "decode", 0), args.seconds)
        os.environ.update(server.environment())
        with line(int(server.endpoint.rpartition(":")[2])) as network, fresh_clients():
            os.environ["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{network.port}"
            sets = {}
            for name in ("jpegs", "films"):
                sets[name] = f"s3://{BUCKET}/{name}"
                for file in storage.list_names(f"{made[name].url}/train"):
                    content = storage.read_bytes(f"{made[name].url}/train/{file}")
                    storage.write_bytes(f"{sets[name]}/train/{file}", content)
            mb_s = most(sets["jpegs"], network)
            rows = measured(sets, network, args.workers)
        print(report(made, rates, rows, mb_s, load, args.seconds), end="")


if __name__ == "__main__":
    main()

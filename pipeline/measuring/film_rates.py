"""What a clip of a set of films costs in each of the three ways to train on it: `bench films`."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.clips import train_cutter
from pipeline.data.films import Turner
from pipeline.data.samples import Span, checked
from pipeline.data.shards import StoredShards
from pipeline.data.stream import empty_clips
from pipeline.measuring.rates import FilmRates
from pipeline.measuring.stopwatch import one_thread
from sharding.building.turning import turning_of
from sharding.errors import UserError
from sharding.format.manifest import Manifest


def measure_films(config: Config, seconds: float) -> FilmRates:
    """Clips of the training split in this process for about `seconds`, each film in all ways.

    Raises `UserError` where the split holds no films.
    """
    split = splits.load(config.data.root, config.data.train, "data.train")
    splits.check_input(split, config.model)
    if not split.of_films:
        raise UserError(f"{split.root}: no films in it; build a set with --store film, or take bench loader")
    cutter = train_cutter(config, split.classes)
    turning, rng = turning_of(split), np.random.default_rng(0)

    def cut(span: Span) -> None:
        sample = checked(span)
        cutter(sample, rng, empty_clips(1, cutter.shape(sample))[0])

    seconds_of, count, jpeg_bytes = np.zeros(3), 0, 0
    films = _films(split)
    cut(next(films))  # what is done for the first time is not counted
    began = time.perf_counter()
    with one_thread():
        while not count or time.perf_counter() - began < seconds:
            film = next(films)
            marks = [time.process_time()]
            cut(film)
            marks.append(time.process_time())
            jpegs = Turner(turning).turned(film.row, film.content)
            marks.append(time.process_time())
            cut(replace(film, content=jpegs))
            marks.append(time.process_time())
            seconds_of += np.diff(marks)
            count, jpeg_bytes = count + 1, jpeg_bytes + len(jpegs)
    film_s, turn_s, jpeg_s = (seconds_of / count).tolist()
    return FilmRates(split.samples, split.bytes / split.samples, jpeg_bytes / count, film_s, turn_s, jpeg_s)


def _films(split: Manifest) -> Iterator[Span]:
    """The films of a split, again and again."""
    shards = StoredShards(split)
    for shard in itertools.cycle(range(len(split.shards))):
        if rows := shards.rows(shard):
            with shards.open(shard, rows) as stream:
                for row in rows:
                    yield Span(row, split.shard_url(shard), stream.read(row.bytes))

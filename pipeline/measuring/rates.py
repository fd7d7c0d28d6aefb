"""What a machine and a store can do, in a file: `bench loader` or `bench films` writes it, `pipeline.plan` reads it."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

from pydantic import Field

from sharding import storage
from sharding.errors import UserError
from sharding.format import schema

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]
T = TypeVar("T")


@dataclass(frozen=True)
class Rates:
    """Of one rank's loader. A clip is what a step trains on; seconds are of the processor: others' do not count.

    `store_mb_s` is what all loader processes together read, of 10^6 bytes a second, when they do nothing else.
    """

    __pydantic_config__ = schema.EXACT

    samples: _Count
    "Of the data set."
    sample_bytes: _Positive
    clips_a_sample: _Count
    clip_bytes: _Count
    "Of a finished clip, in shared memory."
    worker_s: _Positive
    "A clip, in its loader process: reading, checking, decoding, transforming."
    handover_s: _Positive
    "A clip, in the training process."
    store_mb_s: _Positive
    worker_bytes: _Count
    "Memory that a loader process has for itself."
    steps_ahead: _Count
    "Steps whose clips are in memory at a time."

    @property
    def read_bytes(self) -> float:
        """What is read for a clip."""
        return self.sample_bytes / self.clips_a_sample

    def save(self, url: str) -> None:
        """Write the file."""
        _save(self, url)


def load(url: str) -> Rates:
    """What `Rates.save` wrote. Raises `UserError` for anything else."""
    return _load(Rates, url, "a machine", "loader")


@dataclass(frozen=True)
class FilmRates:
    """Of a set of films: bytes a sample, and seconds of a processor a clip, without those of reading."""

    __pydantic_config__ = schema.EXACT

    samples: _Count
    "Of the data set."
    film_bytes: _Positive
    jpeg_bytes: _Positive
    film_s: _Positive
    "A clip from a film: decoded up to its last frame, and cut."
    turn_s: _Positive
    "Turning a whole film to JPEGs."
    jpeg_s: _Positive
    "A clip from JPEGs: decoded and cut."

    def save(self, url: str) -> None:
        """Write the file."""
        _save(self, url)

    def lines(self) -> list[str]:
        """For a user."""
        return [
            f"a film           {self.film_bytes / 1e6:7.3f} MB",
            f"its JPEGs        {self.jpeg_bytes / 1e6:7.3f} MB",
            f"a clip of a film {1000 * self.film_s:7.1f} ms of a core",
            f"turning a film   {1000 * self.turn_s:7.1f} ms",
            f"a clip of JPEGs  {1000 * self.jpeg_s:7.1f} ms",
        ]


def load_films(url: str) -> FilmRates:
    """What `FilmRates.save` wrote. Raises `UserError` for anything else."""
    return _load(FilmRates, url, "films", "films")


def _load(kind: type[T], url: str, what: str, by: str) -> T:
    try:
        return schema.parse(kind, storage.read_bytes(url))
    except ValueError as error:
        raise UserError(
            f"{url}: not the rates of {what} ({error}); python -m pipeline.bench {by} --save writes them"
        ) from None


def _save(rates: "Rates | FilmRates", url: str) -> None:
    storage.write_bytes(url, (json.dumps(asdict(rates), indent=1) + "\n").encode())

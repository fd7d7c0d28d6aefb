"""Three ways to train on films: shards of JPEGs, films decoded when used, films that the cache turns to JPEGs.

Each is limited by the network or by the cores of a node, in the first epoch and in later ones; the lowest limit holds.
"""

from dataclasses import dataclass
from math import inf

from pipeline.measuring.node import DECODING, NETWORK, STEP, kept
from pipeline.measuring.rates import FilmRates

JPEGS = "JPEG shards"
DECODED = "films, decoded when used"
TURNED = "films, turned to JPEGs by the cache"
_AS_QUICK = 1.02
"""Of the least time: a way that takes no more is preferred if it needs less."""


@dataclass(frozen=True)
class Place:
    """Where a set is trained on: one of `nodes` nodes. `step_rate`: clips/s that its GPUs take at most."""

    cores: float
    store_mb_s: float
    cache_gb: float = 0.0
    epochs: int = 50
    nodes: int = 1
    step_rate: float = inf


@dataclass(frozen=True)
class Epoch:
    """What a node makes of an epoch: clips/s, and the part that holds it up."""

    rate: float
    limit: str


@dataclass(frozen=True)
class Way:
    """One of the three: GB in the store and on a node's disk, its first epoch and each later one, hours in all."""

    name: str
    store_gb: float
    disk_gb: float
    first: Epoch
    later: Epoch
    hours: float


def ways(rates: FilmRates, place: Place) -> list[Way]:
    """The three ways; turning needs a cache, and is left out where there is none."""
    jpegs, films = rates.jpeg_bytes, rates.film_bytes
    of_jpegs, of_films = (_kept(rates.samples * size, place) for size in (jpegs, films))
    found = [
        _way(
            JPEGS, rates, place, jpegs, jpegs, (jpegs, rates.jpeg_s), (jpegs * (1 - of_jpegs), rates.jpeg_s)
        ),
        _way(
            DECODED, rates, place, films, films, (films, rates.film_s), (films * (1 - of_films), rates.film_s)
        ),
    ]
    if place.cache_gb:
        anew = 1 - of_jpegs
        first = films, rates.turn_s + rates.jpeg_s
        later = films * anew, anew * rates.turn_s + rates.jpeg_s
        found.append(_way(TURNED, rates, place, films, jpegs, first, later))
    return found


def best(found: list[Way]) -> Way:
    """The quickest way; of those that are as quick, the one that stores least."""
    least = min(way.hours for way in found)
    return min(
        (way for way in found if way.hours <= _AS_QUICK * least), key=lambda way: way.store_gb + way.disk_gb
    )


def lines(rates: FilmRates, place: Place) -> list[str]:
    """For a user."""
    found = ways(rates, place)
    rows: list[tuple[str, ...]] = [
        ("", "store", "disk", "first epoch", "later epochs", f"{place.epochs} epochs")
    ]
    rows += [
        (
            way.name,
            f"{way.store_gb:,.1f} GB",
            f"{way.disk_gb:,.1f} GB",
            *(f"{epoch.rate:,.0f} clips/s ({epoch.limit})" for epoch in (way.first, way.later)),
            f"{way.hours:,.1f} h",
        )
        for way in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    missing = [] if place.cache_gb else [f"{TURNED}: needs a disk, --cache-gb"]
    return [*table, *missing, f"best here: {_advice(best(found))}"]


def _advice(way: Way) -> str:
    how = {
        JPEGS: "blvnet-shard build",
        DECODED: "blvnet-shard build --store film",
        TURNED: "blvnet-shard build --store film --jpeg-hash, and data.films=jpeg with data.cache",
    }
    return f"{way.name}: {how[way.name]}"


def _kept(set_bytes: float, place: Place) -> float:
    """Share of what a node reads that its cache has, once it is full."""
    return kept(1e9 * place.cache_gb / set_bytes, place.nodes)


def _way(
    name: str,
    rates: FilmRates,
    place: Place,
    stored: float,
    cached: float,
    first: tuple[float, float],
    later: tuple[float, float],
) -> Way:
    """A way of which a sample has `stored` bytes in the store and `cached` in a cache.

    `first` and `later`: bytes over the network and seconds of a core, for a clip of such an epoch.
    """
    a, b = _epoch(place, *first), _epoch(place, *later)
    clips = rates.samples / place.nodes
    hours = (clips / a.rate + (place.epochs - 1) * clips / b.rate) / 3600
    disk = min(place.cache_gb, rates.samples * cached / 1e9)
    return Way(name, rates.samples * stored / 1e9, disk, a, b, hours)


def _epoch(place: Place, clip_bytes: float, clip_s: float) -> Epoch:
    limits = {
        NETWORK: place.store_mb_s * 1e6 / clip_bytes if clip_bytes else inf,
        DECODING: place.cores / clip_s,
        STEP: place.step_rate,
    }
    limit = min(limits, key=limits.__getitem__)
    return Epoch(limits[limit], limit)

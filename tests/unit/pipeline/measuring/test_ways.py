"""Films or JPEGs on paper: which way suits given cores, network and disk; and the rates that it is told of."""

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import bench
from pipeline import plan as program
from pipeline.measuring.node import DECODING, NETWORK, STEP
from pipeline.measuring.rates import FilmRates, load_films
from pipeline.measuring.ways import DECODED, JPEGS, TURNED, Place, Way, best, lines, ways
from sharding.format import manifest
from tests.films import built, settings
from tests.unit.sharding.videos import write_set

RATES = FilmRates(
    samples=100_000, film_bytes=100_000, jpeg_bytes=1_000_000, film_s=0.05, turn_s=0.09, jpeg_s=0.01
)


def by_name(place: Place, rates: FilmRates = RATES) -> dict[str, Way]:
    return {way.name: way for way in ways(rates, place)}


def test_each_way_has_the_limits_of_its_bytes_and_seconds() -> None:
    found = by_name(Place(cores=10, store_mb_s=100, cache_gb=100, epochs=10))
    jpegs, decoded, turned = found[JPEGS], found[DECODED], found[TURNED]
    assert (jpegs.first.rate, jpegs.first.limit) == (pytest.approx(100), NETWORK)
    assert (jpegs.later.rate, jpegs.later.limit) == (pytest.approx(1000), DECODING)  # from the cache
    assert (decoded.first.rate, decoded.first.limit) == (pytest.approx(200), DECODING)
    assert decoded.first == decoded.later
    assert (turned.first.rate, turned.first.limit) == (pytest.approx(100), DECODING)
    assert turned.later == jpegs.later
    assert (jpegs.store_gb, decoded.store_gb, turned.store_gb) == (100, 10, 10)
    assert (jpegs.disk_gb, decoded.disk_gb, turned.disk_gb) == (100, 10, 100)
    assert turned.hours == pytest.approx((100_000 / 100 + 9 * 100_000 / 1000) / 3600)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Place(cores=4, store_mb_s=5000), JPEGS),  # a store next door, few cores
        (Place(cores=64, store_mb_s=12.5), DECODED),  # a thin line, many cores, no disk
        (Place(cores=16, store_mb_s=12.5, cache_gb=200), TURNED),  # and with a disk
        (Place(cores=16, store_mb_s=12.5, cache_gb=200, epochs=1), DECODED),  # but not for one epoch
        (
            Place(cores=64, store_mb_s=5000, cache_gb=200, step_rate=500),
            DECODED,
        ),  # all keep up: the least bytes
        (
            Place(cores=16, store_mb_s=12.5, cache_gb=20),
            DECODED,
        ),  # a disk that holds next to nothing of the JPEGs
    ],
)
def test_the_best_way_goes_by_cores_network_and_disk(place: Place, name: str) -> None:
    assert best(ways(RATES, place)).name == name


def test_without_a_cache_nothing_is_turned() -> None:
    place = Place(cores=4, store_mb_s=100)
    assert TURNED not in by_name(place)
    assert lines(RATES, place)[-2] == "films, turned to JPEGs by the cache: needs a disk, --cache-gb"


def test_a_cache_that_is_too_small_turns_again() -> None:
    found = by_name(Place(cores=10, store_mb_s=1e6, cache_gb=50))[TURNED]
    anew = 10 / found.later.rate - RATES.jpeg_s
    assert 0.8 * RATES.turn_s < anew < 0.9 * RATES.turn_s  # half of the set in it saves 15 %


def test_a_step_holds_all_ways_up() -> None:
    for way in ways(RATES, Place(cores=100, store_mb_s=5000, cache_gb=200, step_rate=100.0)):
        assert (way.first.limit, way.later.limit, way.later.rate) == (STEP, STEP, 100)


@given(
    cores=st.floats(1, 100),
    store=st.floats(1, 1e4),
    cache=st.floats(0, 300),
    epochs=st.integers(1, 100),
    nodes=st.integers(1, 8),
)
def test_more_of_anything_makes_no_way_slower(
    cores: float, store: float, cache: float, epochs: int, nodes: int
) -> None:
    place = Place(cores, store, cache, epochs, nodes, inf)
    here = by_name(place)
    for more in (
        replace(place, cores=2 * cores),
        replace(place, store_mb_s=2 * store),
        replace(place, cache_gb=cache + 50),
    ):
        there = by_name(more)
        assert all(there[name].hours <= way.hours * (1 + 1e-9) for name, way in here.items())


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, train=4, validation=1, test=0)
    built(folder, folder / "films", settings())
    built(folder, folder / "jpegs", settings("jpeg"))
    return folder


def test_from_a_set_to_the_best_way(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "films.json")
    words = ["films", "--config", "demo", "--seconds", "0.1", "run.folder=x", f"data.root={films}/films"]
    assert bench.main([*words, "data.size=32", "data.short_side=32", "--save", file]) == 0
    said = capsys.readouterr().out
    assert "turning a film" in said and "pipeline.plan --films" in said
    found = load_films(file)
    made, jpegs = (manifest.load(f"{films}/{name}/train") for name in ("films", "jpegs"))
    assert (found.samples, found.film_bytes) == (4, made.bytes / 4)
    sizes = [row.bytes for sidecar in jpegs.sidecars() for row in sidecar.samples]
    assert min(sizes) <= found.jpeg_bytes <= max(sizes)
    assert min(found.film_s, found.turn_s, found.jpeg_s) > 0
    assert program.main(["--films", file, "--cores", "16", "--store", "125", "--cache-gb", "300"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line[:11] for line in told[1:4]] == ["JPEG shards", "films, deco", "films, turn"]
    assert "50 epochs" in told[0] and told[4].startswith("best here: ")
    words[-1] = f"data.root={films}/jpegs"
    assert bench.main([*words, "data.size=32", "data.short_side=32"]) == 2
    assert "no films in it; build a set with --store film" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--films {file}", "--cores, --store: must be given"),
        ("--films {file} --cores 0 --store 100", "--cores: must be more than 0"),
        ("--films {file} --cores 4 --store 100 --epochs 0", "argument --epochs: must be at least 1"),
        ("--films {file} --measured {file} --cores 4 --store 9", "--films: not together with --measured"),
        ("--films {other} --cores 4 --store 100", "not the rates of films (film_bytes: field required)"),
        ("--films /nowhere --cores 4 --store 100", "/nowhere: no such file"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "films.json", tmp_path / "other.json"
    RATES.save(str(file))
    assert load_films(str(file)) == RATES
    other.write_text('{"samples": 5}')
    try:
        status = program.main(words.format(file=file, other=other).split())
    except SystemExit as ended:
        status = int(str(ended.code))
    assert status == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1

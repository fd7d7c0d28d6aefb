"""Films and pictures that are damaged at random: each is a sample or a line in failures.csv, and the build goes on."""

import os
from pathlib import Path

import pytest

from tests.mutations import WHOLE, Mutant, build, mutant, originals

# A frame of the most pixels that are read is 100 MB in 4:2:0, 400 in 4:4:4 of 16 bits; decoders keep a few.
MOST_BYTES = 1_000_000_000
INPUTS = 2500


def test_any_damage_is_a_sample_or_a_failure(tmp_path: Path) -> None:
    films = originals(tmp_path)
    place = tmp_path / "build"
    place.mkdir()
    outcome = build(place, films, 0, range(INPUTS), workers=2)
    assert outcome.faults == []
    assert outcome.peak_bytes < MOST_BYTES
    # The inputs are worth it: some of every damage are built, some are not, and those without any all are.
    assert outcome.samples[WHOLE] == outcome.inputs[WHOLE] > 100
    for kind in outcome.inputs.keys() - {WHOLE}:
        assert 0 < outcome.samples[kind] < outcome.inputs[kind] > 100, kind
    assert len(outcome.reasons) > 10


def test_who_writes_the_films_is_scheduled_as_before(tmp_path: Path) -> None:
    originals(tmp_path)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_whole_film_that_is_refused_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = originals(tmp_path)[:1]
    broken = films[0]._replace(parts=(b"no film",))
    monkeypatch.setattr("tests.mutations.mutant", lambda *_: Mutant(WHOLE, broken))
    place = tmp_path / "build"
    place.mkdir()
    faults = build(place, films, 0, range(2), workers=1).faults
    assert sorted(fault.partition(":")[0] for fault in faults) == ["seed 0, input 0", "seed 0, input 1"]


def test_an_input_is_known_by_its_number(tmp_path: Path) -> None:
    films = originals(tmp_path)
    assert originals(tmp_path) == films
    made = [mutant(films, 0, number) for number in range(50)]
    assert made == [mutant(films, 0, number) for number in range(50)]
    assert made != [mutant(films, 1, number) for number in range(50)]

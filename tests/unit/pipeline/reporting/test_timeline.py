"""The timeline of ranks: who lost time, in what, and who made them lose it."""

from typing import Any

from pipeline import config as configuration
from pipeline.pace.slowest import STAGES
from pipeline.reporting import timeline
from pipeline.reporting.record import Record
from pipeline.run.journal import Line

CONFIG = configuration.load("configs/demo.yaml", ["run.folder=f", "data.root=d"])
WAIT = "wait for the others"


def line(step: int, rank: int = 0, behind: float = 0.0, stage: str = "read", **stages: list[int]) -> Line:
    """A line of two ranks unless `stages` have more; thousandths of the time."""
    given: dict[str, Any] = {name.replace("_", " "): column for name, column in stages.items()}
    ranks = len(next(iter(given.values()), [0, 0]))
    return {
        "step": step,
        "slowest": {"rank": rank, "host": f"n{rank}", "stage": stage, "behind": behind},
        "stages": {name: given.get(name, [0] * ranks) for name in (*STAGES, WAIT)},
    }


def run(*train: Line, name: str = "mine") -> Record:
    starts = [{"ranks": [{"host": "n0", "device": "CPU"}, {"host": "n<1>", "device": "CPU"}]}]
    return Record("f", name, CONFIG, list(train), [], [], [], None, starts, None, 10)


def test_a_cell_is_what_its_lines_lost_most_in_on_average() -> None:
    lines = [
        line(1, read=[0, 400], wait_for_the_others=[400, 0]),
        line(2, read=[0, 200], decode=[0, 250], wait_for_the_others=[450, 0]),
        line(3, checkpoint=[900, 0], wait_for_the_others=[0, 900]),
    ]
    assert timeline.cells(lines, range(1, 2), 3) == [("read", 400), ("decode", 250), (WAIT, 900)]
    assert timeline.cells(lines[:2], range(1, 2), 1) == [("read", 300)]
    # Of several ranks, the one that lost most.
    assert timeline.cells(lines, range(2), 3)[0] in [("read", 400), (WAIT, 400)]
    assert timeline.cells(lines[2:], range(2), 1) == [("checkpoint", 900)]


def test_a_rank_that_was_not_there_lost_nothing() -> None:
    assert timeline.cells([line(1, read=[500, 500])], range(5, 6), 1) == [("read", 0)]


def test_those_that_hold_up_the_others_are_counted() -> None:
    lines = [line(n, rank=1, behind=0.3) for n in range(3)] + [line(4, rank=0, behind=0.01)]
    assert timeline.held_up(lines) == [(1, "n1", "read", 0.75)]
    drawn = timeline.section([run(*lines)])
    assert "rank 1 on n1 held up the others in read, in 75% of the lines of metrics" in drawn


def test_the_drawing_has_a_row_a_rank_and_colours_what_was_lost() -> None:
    drawn = timeline.section([run(line(1, decode=[0, 500], wait_for_the_others=[500, 0]), line(2))])
    assert drawn.count("<rect") == 2  # what took under three hundredths stays empty
    assert "<title>rank 1, n&lt;1&gt;: decode 50 %</title>" in drawn
    assert "<title>rank 0, n0: wait for the others 50 %</title>" in drawn
    assert "no rank held up the others" in drawn


def test_hundreds_of_ranks_and_thousands_of_lines_still_fit() -> None:
    lines = [line(n, read=[100] * 512) for n in range(2000)]
    drawn = timeline.section([run(*lines)])
    assert drawn.count("<text") == 64
    assert "ranks 0 to 7" in drawn
    assert len(drawn) < 2_000_000


def test_one_rank_and_earlier_programs_have_none() -> None:
    assert timeline.section([run(line(1, read=[500])), run({"step": 1, "loss": 1.0})]) == ""

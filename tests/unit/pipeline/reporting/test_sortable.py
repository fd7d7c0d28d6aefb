"""Tables that can be sorted and searched, as a browser does it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.reporting import sortable
from pipeline.reporting.sortable import Cell
from sharding.pages.document import document
from tests.pages import Parsed, chromium

NAMES = ["Éclair", "banana", "Apple pie", "apple", "<script>document.title = 'owned'</script>"]
NUMBERS = [10.0, 9.0, -1.0, 100.0, 9.0]
ROWS = [[Cell(f"{i}", i), Cell(name.replace("<", "&lt;")), Cell(f"{n:g} %", n)]
        for i, (name, n) in enumerate(zip(NAMES, NUMBERS, strict=True))]  # fmt: skip

USER = """
const out = [], heads = [...document.querySelectorAll("th button")], input = document.querySelector("input");
const seen = () => [...document.querySelectorAll("tbody tr")].filter(row => !row.hidden);
const note = () => out.push(seen().map(row => row.cells[0].textContent));
const type = text => { input.value = text; input.dispatchEvent(new Event("input")); note(); };
note();
for (const i of [2, 2, 1, 1, 0]) { heads[i].click(); note(); }
type("APPLE"); type("pie  apple"); type("nothing"); type("");
out.push([...document.querySelectorAll("th")].map(h => h.getAttribute("aria-sort")));
out.push(document.querySelector(".search span").textContent);
document.body.dataset.out = JSON.stringify(out);
"""


def test_without_scripts_the_rows_are_there_in_their_order() -> None:
    parsed = Parsed(sortable.table(["n", "name", "<share>"], ROWS))
    assert [parsed.text.index(f"{number:g} %") for number in NUMBERS[:4]] == sorted(
        parsed.text.index(f"{number:g} %") for number in NUMBERS[:4]
    )
    assert [cell.get("class") for cell in parsed.named("th")] == ["n", None, "n"]
    assert "<share>" in parsed.text and not parsed.named("input")


def drawn(folder: Path, script: str, more: str = "") -> Parsed:
    text = document("page", [sortable.table(["n", "name", "share"], ROWS), more], script=script)
    (folder / "page.html").write_text(text)
    return Parsed(chromium(folder, "--dump-dom", f"file://{folder}/page.html"))


@pytest.mark.browser
def test_a_browser_sorts_and_searches(tmp_path: Path) -> None:
    (body,) = drawn(tmp_path, sortable.SCRIPT + USER).named("body")
    found: list[Sequence[str]] = json.loads(str(body["data-out"]))
    first, high, low, a, z, by_number, apples, both, none, everything, sorts, count = found
    assert first == ["0", "1", "2", "3", "4"]
    assert high == [
        "3",
        "0",
        "1",
        "4",
        "2",
    ]  # numbers by their value, the highest first; equal ones as they were
    assert low == ["2", "1", "4", "0", "3"]
    assert a == ["4", "3", "2", "1", "0"] and z == a[::-1]  # names as people sort them
    assert by_number == ["4", "3", "2", "1", "0"]
    assert sorted(apples) == ["2", "3"] and both == ["2"] and none == [] and len(everything) == 5
    assert sorts == ["descending", None, None] and count == "5 of 5"


@pytest.mark.browser
def test_only_the_pages_own_script_runs(tmp_path: Path) -> None:
    bad = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    parsed = drawn(tmp_path, sortable.SCRIPT, bad)
    assert len(parsed.named("input")) == 1  # the page's own did
    assert re.search(r"\bpage\b", parsed.text) and not parsed.text.startswith("owned")
    page = (tmp_path / "page.html").read_text()
    changed = page.replace('type = "search"', 'type = "text"')
    assert changed != page
    (tmp_path / "page.html").write_text(changed)
    assert not Parsed(chromium(tmp_path, "--dump-dom", f"file://{tmp_path}/page.html")).named("input")

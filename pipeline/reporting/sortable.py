"""Tables that a click on a head sorts and a word searches. Without scripts they are there as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, as HTML; a number sorts by its `value`."""

    html: str
    value: float | None = None


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table with these words as its head; a column whose cells have values is set as numbers."""
    numbers = [any(row[i].value is not None for row in rows) for i in range(len(head))]
    kinds = [' class="n"' if number else "" for number in numbers]
    heads = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(head, kinds, strict=True)
    )
    return "\n".join(
        [
            f'<div class="scroll"><table class="sortable"><thead><tr>{heads}</tr></thead><tbody>',
            *(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows),
            "</tbody></table></div>",
        ]
    )


def measure(percent: float) -> str:
    """A bar for a share."""
    return f'<span class="measure"><span class="bar" style="width:{percent:.1f}%"></span></span>'


def balance(percent: float) -> str:
    """A bar to the right of the middle for a gain, to the left for a loss, each of at most 100 percent."""
    half = abs(percent) / 2
    kind, left = ("bar", 50.0) if percent >= 0 else ("bar loss", 50 - half)
    bar = f'<span class="{kind}" style="width:{half:.1f}%;margin-left:{left:.1f}%"></span>'
    return f'<span class="measure middle">{bar}</span>'


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return f"<td>{cell.html}</td>"
    return f'<td class="n" data-v="{cell.value:.6g}">{cell.html}</td>'


STYLE = """
.scroll { overflow: auto; max-height: 30rem; width: fit-content; max-width: 100%;
  border-bottom: 1px solid var(--line); }
.sortable th { position: sticky; top: 0; background: var(--paper); white-space: nowrap; }
.sortable td, .sortable th { padding-right: 1.6rem; }
.sortable th button { all: unset; cursor: pointer; }
.sortable th button:hover, .sortable th button:focus-visible { color: var(--ink); text-decoration: underline; }
.sortable th[aria-sort] button { color: var(--ink); }
.sortable th[aria-sort=ascending] button::after { content: " \\25b4"; }
.sortable th[aria-sort=descending] button::after { content: " \\25be"; }
.measure { display: inline-block; width: 7rem; margin-right: .7rem; vertical-align: middle; }
.middle { background: linear-gradient(var(--axis), var(--axis)) center / 1px 100% no-repeat; }
.bar.loss { background: var(--bad); }
.search { display: block; margin: 0 0 .5rem; color: var(--quiet); }
.search input { font: inherit; width: min(22rem, 60vw); margin-right: .8rem; padding: .1rem .4rem; color: var(--ink);
  background: var(--paper); border: 1px solid var(--axis); border-radius: 3px; }
""".lstrip()
"""The style of the tables."""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const value = (row, i) => {
    const cell = row.cells[i];
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = rows.some(row => row.cells[i].dataset.v !== undefined);
      const was = head.getAttribute("aria-sort");
      const sign = (was ? was === "descending" : !numbers) ? 1 : -1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      rows.sort((a, b) => {
        const x = value(a, i), y = value(b, i);
        return sign * (numbers ? x - y : x.localeCompare(y));
      });
      body.append(...rows);
    });
  });
  const label = document.createElement("label"), input = document.createElement("input");
  const count = document.createElement("span");
  label.className = "search";
  input.type = "search";
  input.placeholder = "search";
  input.setAttribute("aria-label", "search");
  label.append(input, count);
  table.parentNode.before(label);
  const search = () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(word => word);
    let left = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
      left += row.hidden ? 0 : 1;
    }
    count.textContent = left + " of " + rows.length;
  };
  input.addEventListener("input", search);
  search();
}
"""
"""What sorts and searches them."""

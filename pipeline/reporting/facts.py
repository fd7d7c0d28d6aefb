"""Facts of runs side by side: a line a fact, a column a run."""

from collections.abc import Sequence
from html import escape

from pipeline.reporting import curve
from pipeline.reporting.record import Record

UNKNOWN = "\N{EN DASH}"


def table(runs: Sequence[Record], facts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The table of `facts`, each with its name and a text for each run; one that is not known of any is left out."""
    heads = "".join(f"<th>{curve.key(i)}{escape(run.name)}</th>" for i, run in enumerate(runs))
    rows = [
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
        for name, texts in facts
        if set(texts) != {UNKNOWN}
    ]
    return "\n".join([f'<div class="wide"><table><tr><th></th>{heads}</tr>', *rows, "</table></div>"])

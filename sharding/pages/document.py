"""HTML pages that need nothing else: their frame, style and parts. Text that comes in is escaped."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from sharding.pages.contact import Picture

_ONE_LINE = 12  # pictures that shrink to fit in one line; more are broken over several

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --quiet: #57606a; --line: #e1e4e8; --axis: #8c959f;
  --accent: #3b6ea5; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e3e6ea; --quiet: #9aa4af; --line: #2c3239;
  --axis: #6b7580; --accent: #6aa0d8; --bad: #ff8a80; } }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; padding: 0 1.5rem; max-width: 1720px; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .6rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
h3 span { font-weight: 400; color: var(--quiet); margin-left: .6rem; }
a { color: var(--accent); }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--quiet); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.quiet { color: var(--quiet); }
.bad { color: var(--bad); font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 0 3rem; }
svg { width: 520px; max-width: 100%; display: block; }
svg rect { fill: var(--accent); } svg line { stroke: var(--axis); }
svg text { font-size: 12px; fill: var(--quiet); }
.sample { margin: 0 0 1.3rem; }
.sample p { margin: 0 0 .25rem; }
.row { display: flex; gap: 4px; }
.row.many { flex-wrap: wrap; }
figure { margin: 0; min-width: 48px; }
.many figure { flex: none; }
.many img { height: 88px; width: auto; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: 11px; color: var(--quiet); }
.classes { list-style: none; margin: 0; padding: 0; columns: 34rem; column-gap: 3rem; }
.classes li { display: grid; grid-template-columns: 2rem minmax(0, 1fr) 7rem 3.6rem; gap: .5rem; break-inside: avoid;
  border-bottom: 1px solid var(--line); padding: .1rem 0; align-items: center; }
.bar { display: block; background: var(--accent); height: .65rem; }
""".strip()


def document(title: str, body: Sequence[str], style: str = "", script: str = "") -> str:
    """The page: its `title`, as heading too, and the HTML of its `body`; `style` adds to `STYLE`.

    `script` is the only one that runs, at the page's end.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ending = []
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
        ending = [f"<script>{script}</script>"]
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        # Belt and braces: even a name that slipped through unescaped could load and run nothing.
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n{style}</style>\n</head>\n<body>",
        f"<h1>{escape(title)}</h1>",
        *body,
        *ending,
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def row(pictures: Sequence[Picture]) -> str:
    """Pictures side by side, each with the number of its frame."""
    drawn = "".join(
        f'<figure><img src="data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}" '
        f'width="{picture.width}" height="{picture.height}" alt="frame {picture.frame}">'
        f"<figcaption>{picture.frame}</figcaption></figure>"
        for picture in pictures
    )
    return f'<div class="{"row" if len(pictures) <= _ONE_LINE else "row many"}">{drawn}</div>'


def plot(title: str, said: str, drawing: str) -> str:
    """A drawing under its title, `said` beside that in small."""
    return f"<div><h3>{escape(title)}<span>{escape(said)}</span></h3>{drawing}</div>"


def quiet(facts: Sequence[str]) -> str:
    """Facts beside something more important."""
    return f'<span class="quiet">· {escape(" · ".join(facts))}</span>'

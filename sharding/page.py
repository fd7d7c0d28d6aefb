"""A shard set as one HTML page that needs nothing else. All that comes from data is escaped; nothing in it runs."""

import base64
from html import escape
from typing import Any

from sharding import histogram, units
from sharding.contact import Sheet
from sharding.inspect import Split, spread
from sharding.manifest import FAILURES_NAME

_FAILURES = 200  # more are left to the file of all
_ONE_LINE = 12  # pictures that shrink to fit in one line; more are broken over several

_STYLE = """
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto;
  padding: 0 1.5rem; max-width: 1720px; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 3rem 0 .5rem; padding-top: .6rem; border-top: 2px solid #1b1f24; }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #e1e4e8; vertical-align: top; }
th { font-weight: 600; color: #57606a; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.quiet { color: #57606a; }
.bad { color: #b3261e; font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 0 3rem; }
h3 span { font-weight: 400; color: #57606a; margin-left: .6rem; }
svg { width: 520px; max-width: 100%; display: block; }
svg rect { fill: #3b6ea5; } svg line { stroke: #8c959f; } svg text { font-size: 12px; fill: #57606a; }
.sample { margin: 0 0 1.3rem; }
.sample p { margin: 0 0 .25rem; }
.row { display: flex; gap: 4px; }
.row.many { flex-wrap: wrap; }
figure { margin: 0; min-width: 48px; }
.many figure { flex: none; }
.many img { height: 88px; width: auto; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: 11px; color: #57606a; }
.classes { list-style: none; margin: 0; padding: 0; columns: 34rem; column-gap: 3rem; }
.classes li { display: grid; grid-template-columns: 2rem minmax(0, 1fr) 7rem 3.6rem; gap: .5rem; break-inside: avoid;
  border-bottom: 1px solid #e1e4e8; padding: .1rem 0; align-items: center; }
.bar { display: block; background: #3b6ea5; height: .65rem; }
""".strip()


def render(title: str, splits: list[Split]) -> str:
    """The page. `title` is what was looked at."""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        # Belt and braces: even a name that slipped through unescaped could load and run nothing.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>",
        f"<h1>{escape(title)}</h1>",
        _summary(splits),
        *(_section(split) for split in splits),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _summary(splits: list[Split]) -> str:
    rows = ["<table><tr><th>split</th>" + "".join(f'<th class="n">{name}</th>' for name in _COUNTS) + "</tr>"]
    for split in splits:
        made = split.made
        failures = f"{len(made.failures):,}"
        if made.failures:
            failures = f'<a class="bad" href="#{escape(made.split)}-failures">{failures}</a>'
        counts = [
            f"{made.samples:,}",
            f"{made.frames:,}",
            units.size(made.bytes),
            f"{len(made.shards):,}",
            failures,
        ]
        cells = "".join(f'<td class="n">{cell}</td>' for cell in counts)
        rows.append(f'<tr><td><a href="#{escape(made.split)}">{escape(made.split)}</a></td>{cells}</tr>')
    return "\n".join([*rows, "</table>"])


_COUNTS = ("samples", "frames", "size", "shards", "failures")


def _section(split: Split) -> str:
    made = split.made
    parts = [
        f'<section id="{escape(made.split)}">\n<h2>{escape(made.split)}</h2>',
        f'<p class="quiet">{escape(made.dataset)}, built with {_settings(made.settings)}</p>',
    ]
    if split.rows:
        parts += [_plots(split), _samples(split), _classes(split)]
    return "\n".join([*parts, _failures(split), "</section>"])


def _settings(settings: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return ", ".join(f"{escape(name)}&nbsp;<b>{escape(text(value))}</b>" for name, value in settings.items())


def _plots(split: Split) -> str:
    plots = [
        _plot("Samples by number of frames", spread(split.frames), histogram.svg(histogram.of(split.frames))),
        _plot(
            "Samples by size in the tar",
            spread(split.sizes, units.size),
            histogram.svg(histogram.of(split.sizes), units.size),
        ),
    ]
    return "\n".join(['<div class="plots">', *plots, "</div>"])


def _plot(title: str, said: str, drawing: str) -> str:
    return f"<div><h3>{title}<span>{escape(said)}</span></h3>{drawing}</div>"


def _samples(split: Split) -> str:
    title = f"{len(split.sheets)} samples of {len(split.rows):,}, at random"
    return "\n".join([f"<h3>{title}</h3>", *(_sample(sheet, split.made.classes) for sheet in split.sheets)])


def _sample(sheet: Sheet, classes: list[str]) -> str:
    row, about = sheet.row, sheet.about
    name = '<span class="quiet">no label</span>'
    if row.label is not None:
        name = f'<b>{escape(classes[row.label])}</b> <span class="quiet">· class {row.label}</span>'
    facts = [f"video {row.key}", f"{row.frames} frames", units.size(row.bytes)]
    if sheet.problem is not None:
        return (
            f'<div class="sample"><p>{name} {_quiet(facts)}</p>'
            f'<p class="bad">damaged: {escape(sheet.problem)}</p></div>'
        )
    facts.append(f"{about['width']}x{about['height']}")
    facts += [f"{about['fps']:g} fps"] if about.get("fps") else []
    facts += [f"“{about['text']}”"] if "text" in about else []
    pictures = "".join(
        f'<figure><img src="data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}" '
        f'width="{picture.width}" height="{picture.height}" alt="frame {picture.frame}">'
        f"<figcaption>{picture.frame}</figcaption></figure>"
        for picture in sheet.pictures
    )
    kind = "row" if len(sheet.pictures) <= _ONE_LINE else "row many"
    return f'<div class="sample"><p>{name} {_quiet(facts)}</p><div class="{kind}">{pictures}</div></div>'


def _quiet(facts: list[str]) -> str:
    return f'<span class="quiet">· {escape(" · ".join(facts))}</span>'


def _classes(split: Split) -> str:
    if not split.classes:
        return '<h3>Classes</h3>\n<p class="quiet">no labels</p>'
    most = split.classes[0][1]
    items = [
        f'<li><span class="n quiet">{index}</span><span>{escape(split.made.classes[index])}</span>'
        f'<span><span class="bar" style="width:{100 * count / most:.1f}%"></span></span>'
        f'<span class="n{"" if count else " bad"}">{count:,}</span></li>'
        for index, count in split.classes
    ]
    title = f"<h3>Classes<span>{escape(split.class_line())}</span></h3>"
    return "\n".join([title, '<ol class="classes">', *items, "</ol>"])


def _failures(split: Split) -> str:
    failures = split.made.failures
    if not failures:
        return '<h3>Failures</h3>\n<p class="quiet">none: every video of the split is in it</p>'
    rows = [
        f"<tr><td>{escape(failure.key)}</td><td>{escape(failure.reason)}</td></tr>"
        for failure in failures[:_FAILURES]
    ]
    if len(failures) > _FAILURES:
        more = f"and {len(failures) - _FAILURES:,} more: {FAILURES_NAME}"
        rows.append(f'<tr><td colspan="2" class="quiet">{more}</td></tr>')
    videos = len(failures) + split.made.samples
    place = f"{escape(split.made.split)}-failures"
    return "\n".join(
        [
            f'<h3 id="{place}" class="bad">Failures<span>{len(failures):,} of {videos:,} videos</span></h3>',
            "<table><tr><th>video</th><th>reason</th></tr>",
            *rows,
            "</table>",
        ]
    )

"""A shard set as one HTML page that needs nothing else. All that comes from data is escaped; nothing in it runs."""

from html import escape
from typing import Any

from sharding.format.manifest import FAILURES_NAME
from sharding.pages import histogram, units
from sharding.pages.contact import Sheet
from sharding.pages.document import document, plot, quiet, row
from sharding.pages.inspect import Split, spread

_FAILURES = 200  # more are left to the file of all


def render(title: str, splits: list[Split]) -> str:
    """The page. `title` is what was looked at."""
    return document(title, [_summary(splits), *(_section(split) for split in splits)])


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
    if split.frames:
        parts += [_plots(split), _samples(split), _classes(split)]
    return "\n".join([*parts, _failures(split), "</section>"])


def _settings(settings: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return ", ".join(f"{escape(name)}&nbsp;<b>{escape(text(value))}</b>" for name, value in settings.items())


def _plots(split: Split) -> str:
    plots = [
        plot("Samples by number of frames", spread(split.frames), histogram.svg(histogram.of(split.frames))),
        plot(
            "Samples by size in the tar",
            spread(split.sizes, units.size),
            histogram.svg(histogram.of(split.sizes), units.size),
        ),
    ]
    return "\n".join(['<div class="plots">', *plots, "</div>"])


def _samples(split: Split) -> str:
    title = f"{len(split.sheets)} samples of {len(split.frames):,}, at random"
    return "\n".join([f"<h3>{title}</h3>", *(_sample(sheet, split.made.classes) for sheet in split.sheets)])


def _sample(sheet: Sheet, classes: list[str]) -> str:
    sample, about = sheet.row, sheet.about
    name = '<span class="quiet">no label</span>'
    if sample.label is not None:
        labels = sample.label if isinstance(sample.label, tuple) else (sample.label,)
        name = ", ".join(
            f'<b>{escape(classes[label])}</b> <span class="quiet">· class {label}</span>' for label in labels
        )
    facts = [f"video {sample.key}", f"{sample.frames} frames", units.size(sample.bytes)]
    if about is None:
        return (
            f'<div class="sample"><p>{name} {quiet(facts)}</p>'
            f'<p class="bad">damaged: {escape(sheet.problem or "")}</p></div>'
        )
    facts.append(f"{about.width}x{about.height}")
    facts += [f"{about.fps:g} fps"] if isinstance(about.fps, int | float) and about.fps else []
    facts += [f"“{about.text}”"] if isinstance(about.text, str) else []
    return f'<div class="sample"><p>{name} {quiet(facts)}</p>{row(sheet.pictures)}</div>'


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

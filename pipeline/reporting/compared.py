"""The report's look at settings: in what the runs differ, and all of them."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.reporting import curve, names
from pipeline.reporting.record import Record

Flat = dict[str, Any]
"""Settings by dotted key."""

_FOLDER = "run.folder"
_PLACES = {"data.root", _FOLDER}  # which have no default
_SAID = "bold: not the default"


def flat(settings: dict[str, Any]) -> Flat:
    """Nested settings, as `Config` is dumped to, by dotted key."""
    return {
        f"{section}.{name}": value for section, inner in settings.items() for name, value in inner.items()
    }


def of(config: Config) -> Flat:
    """The settings of a run."""
    return flat(config.model_dump(mode="json", by_alias=True))


def differing(settings: Sequence[Flat]) -> list[str]:
    """The keys of which not all have the same value, in the configuration's order; a key that is missing is none."""
    keys = dict.fromkeys(key for one in settings for key in one)
    first = settings[0]
    return [key for key in keys if any(key in one and one[key] != first.get(key) for one in settings)]


def changes(before: Flat, now: Flat) -> list[str]:
    """What was changed between two starts of a run, in words: `learning rate 0.01, now 0.001`."""
    return [
        f"{names.setting(key)} {shown(before[key])}, now {shown(now[key])}"
        for key in differing([before, now])
        if key in before and key in now
    ]


def shown(value: Any) -> str:
    """A value in words."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def section(runs: Sequence[Record]) -> str:
    """What differs between the runs, and, folded away, every setting."""
    settings = [of(run.config) for run in runs]
    parts = ["<h2>Settings</h2>"]
    if len(runs) > 1:
        # Two runs never share a folder, and the report's first column has it.
        keys = [key for key in differing(settings) if key != _FOLDER]
        parts.append("<h3>What differs between the runs</h3>")
        same = '<p class="quiet">nothing but the run folder</p>'
        parts.append(_table(runs, [_row(key, settings, {}) for key in keys]) if keys else same)
    usual = flat(configuration.defaults())
    rows = [row for name in Config.model_fields for row in _rows_of(name, settings, usual)]
    parts.append(f'<details><summary>All settings <span class="quiet">{_SAID}</span></summary>')
    return "\n".join([*parts, _table(runs, rows), "</details>"])


def _rows_of(section: str, settings: Sequence[Flat], usual: Flat) -> Iterator[str]:
    """The rows of a section: its name, and each of its settings."""
    name = names.SECTIONS.get(section, section.capitalize())
    yield f'<tr><th colspan="{1 + len(settings)}">{escape(name)}</th></tr>'
    for key in usual:
        if key.startswith(f"{section}."):
            yield _row(key, settings, usual)


def _row(key: str, settings: Sequence[Flat], usual: Flat) -> str:
    """A setting, its key as a tooltip, and its values; those that are not the `usual` one are bold."""
    cells = []
    for one in settings:
        text = escape(shown(one[key]))
        bold = key in usual and one[key] != usual[key] and key not in _PLACES
        cells.append(f"<td><b>{text}</b></td>" if bold else f"<td>{text}</td>")
    return f'<tr><td title="{escape(key)}">{escape(names.setting(key))}</td>{"".join(cells)}</tr>'


def _table(runs: Sequence[Record], rows: Sequence[str]) -> str:
    names_of_runs = "".join(f"<th>{curve.key(i)}{escape(run.name)}</th>" for i, run in enumerate(runs))
    return "\n".join(
        [f'<div class="wide"><table><tr><th>setting</th>{names_of_runs}</tr>', *rows, "</table></div>"]
    )

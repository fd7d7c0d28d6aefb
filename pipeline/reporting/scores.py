"""The report's tables: every run in a line, and every evaluation beside the published score."""

from collections.abc import Sequence
from html import escape
from statistics import median

from blvnet import zoo
from pipeline.evaluation import protocol
from pipeline.reporting import curve
from pipeline.reporting.record import Record
from pipeline.run.journal import Line

_RUN = ("run", "model", "data", "views", "state")
_FIGURES = ("loss", "top-1", "best top-1", "top-5", "published top-1", "clips/s", "data wait")
_EVALUATION = ("run", "split", "views")
_SCORES = ("videos", "top-1", "top-5", "mean class", "loss", "published top-1", "difference")
_ORDER = ("run", "split", "order of frames")
_EFFECT = (
    "top-1 forwards",
    "top-1 so",
    "drop",
    "mirrored classes",
    "recognised there",
    "taken for the mirror",
)
_UNKNOWN = "\N{EN DASH}"
_SAID = "Loss and accuracies (%) of validation while training; speeds are medians."
_VIEWS = (
    "Views: clips x crops (choice of frames), pixels of a crop of the frames' shorter side, precision. Published "
    f"scores are of {protocol.text(zoo.PROTOCOL)}; a difference in brackets is one between two protocols."
)
_NONE = "none yet: python -m pipeline.evaluate ... --out RUN writes them into the run folder"


def runs_table(runs: Sequence[Record]) -> str:
    """What was trained, how far it is, and how well it does."""
    rows = []
    for i, run in enumerate(runs):
        last = run.validation[-1] if run.validation else {}
        figures = [
            _value(last.get("loss"), ".3f"),
            _value(last.get("top1"), ".1f"),
            _value(max((line["top1"] for line in run.validation), default=None), ".1f"),
            _value(last.get("top5"), ".1f"),
            _value(_published(run), ".1f"),
            _value(_median(run, "clips_per_s"), ",.1f"),
            _value(_median(run, "data_wait"), ".1%"),
        ]
        seen = protocol.text(protocol.views(run.config))
        rows.append((_texts(i, run, _model(run), _data(run), seen, state(run)), figures))
    said = f"{_SAID} {_VIEWS}" if any(run.published for run in runs) else _SAID
    return f'{_table(_RUN, _FIGURES, rows)}\n<p class="quiet">{said}</p>'


def evaluations_table(runs: Sequence[Record]) -> str:
    """The scores that `pipeline.evaluate` wrote."""
    rows = [
        (_texts(i, run, _split(scores), _views(scores)), _scores(run, scores))
        for i, run in enumerate(runs)
        for scores in run.evaluations
    ]
    content = _table(_EVALUATION, _SCORES, rows) if rows else f'<p class="quiet">{_NONE}</p>'
    return f"<h3>Evaluations</h3>\n{content}"


def orders_table(runs: Sequence[Record]) -> str:
    """What `pipeline.evaluate --order` found; nothing where it was not asked."""
    rows = [
        (_texts(i, run, found["split"], found["order"]), _effect(found))
        for i, run in enumerate(runs)
        for found in run.orders
    ]
    return f"<h3>Frames in another order</h3>\n{_table(_ORDER, _EFFECT, rows)}" if rows else ""


def state(run: Record) -> str:
    """How far a run is."""
    if not run.train:
        return "no metrics yet"
    last, epochs = run.train[-1], run.config.optim.epochs
    if run.finished:
        return f"finished: {last['step']:,} steps, {epochs} epochs"
    return f"going on: step {last['step']:,}, in epoch {last['epoch'] + 1} of {epochs}"


def _scores(run: Record, scores: Line) -> list[str]:
    known = scores.get("published", {}).get("top1") if "model" in scores else _published(run)
    return [
        _value(scores["videos"], ",d"),
        _value(scores["top1"], ".2f"),
        _value(scores["top5"], ".2f"),
        _value(scores.get("mean_class"), ".2f"),
        _value(scores["loss"], ".3f"),
        _value(known, ".1f"),
        _difference(scores, known),
    ]


def _effect(found: Line) -> list[str]:
    return [
        _value(found["top1_forward"], ".2f"),
        _value(found["top1"], ".2f"),
        _value(found["drop"], ".2f"),
        _value(found["mirrored_classes"], ",d"),
        _value(found["recognised"], ",d"),
        _value(found["flipped"], ".1f"),
    ]


def _split(scores: Line) -> str:
    """What was scored, and by which network where that is not the run's: somebody may compare them in one folder."""
    return f"{scores['split']} (released {scores['model']})" if "model" in scores else str(scores["split"])


def _views(scores: Line) -> str:
    """How the videos were seen; nothing where an older program did not say."""
    return protocol.text(scores["views"]) if "views" in scores else ""


def _difference(scores: Line, known: float | None) -> str:
    """From the published score: in brackets where that is of another protocol, or this one's is not known."""
    difference = _value(None if known is None else scores["top1"] - known, "+.1f")
    same = known is None or protocol.is_published(scores.get("views", {}))
    return difference if same else f"({difference})"


def _model(run: Record) -> str:
    if run.published is not None:
        return run.published.name
    model = run.config.model
    return f"depth {model.depth}, f{model.num_frames // 2}x2"


def _data(run: Record) -> str:
    if run.split is None:
        return run.config.data.root
    return f"{run.split.dataset}, {len(run.split.classes)} classes"


def _published(run: Record) -> float | None:
    return None if run.published is None else run.published.top1


def _median(run: Record, name: str) -> float | None:
    values = [line[name] for line in run.train if name in line]
    return median(values) if values else None


def _value(value: float | None, form: str) -> str:
    return _UNKNOWN if value is None else format(value, form)


def _table(texts: Sequence[str], figures: Sequence[str], rows: Sequence[tuple[list[str], list[str]]]) -> str:
    """A table of `rows` (texts as HTML, figures); a column of figures that no row has is left out."""
    known = [i for i in range(len(figures)) if any(found[i] != _UNKNOWN for _, found in rows)]
    lines = [(texts, figures, "th"), *((*row, "td") for row in rows)]
    html = [
        "".join(f"<{tag}>{text}</{tag}>" for text in some)
        + "".join(f'<{tag} class="n">{found[i]}</{tag}>' for i in known)
        for some, found, tag in lines
    ]
    return "\n".join(
        ['<div class="wide runs"><table>', *(f"<tr>{line}</tr>" for line in html), "</table></div>"]
    )


def _texts(colour: int, run: Record, *others: str) -> list[str]:
    return [f"{curve.key(colour)}{escape(run.name)}", *map(escape, others)]

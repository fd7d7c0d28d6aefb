"""The report's tables: every run in a line, and every evaluation beside the published score."""

from collections.abc import Callable, Sequence
from html import escape

from blvnet import zoo
from pipeline.evaluation import protocol
from pipeline.reporting import curve, facts, history
from pipeline.reporting.facts import UNKNOWN
from pipeline.reporting.record import Record
from pipeline.run.journal import Line

_EVALUATION = ("run", "split", "views")
_SCORES = (
    "videos",
    "mAP",
    "hit@1",
    "hit@5",
    "top-1",
    "top-5",
    "mean class",
    "loss",
    "published top-1",
    "difference",
)
_ORDER = ("run", "split", "order of frames")
_EFFECT = (
    "top-1 forwards",
    "top-1 so",
    "drop",
    "mirrored classes",
    "recognised there",
    "taken for the mirror",
)
_SAID = "Loss and accuracies (%) of validation while training."
_VIEWS = (
    "Views: clips x crops (choice of frames), pixels of a crop of the frames' shorter side, precision. Published "
    f"scores are of {protocol.text(zoo.PROTOCOL)}; a difference in brackets is one between two protocols."
)
_NONE = "none yet: python -m pipeline.evaluate ... --out RUN writes them into the run folder"


def runs_table(runs: Sequence[Record]) -> str:
    """What was trained, how far it is, and how well it does."""
    found = [(name, [fact(run) for run in runs]) for name, fact in _FACTS.items()]
    said = f"{_SAID} {_VIEWS}" if any(run.published for run in runs) else _SAID
    title = "<h3>What and how well</h3>"
    return f'<div>{title}\n{facts.table(runs, found)}\n<p class="quiet">{said}</p></div>'


def _last(run: Record, figure: str, form: str = ".1f") -> str:
    """From the last validation while training."""
    return _value(run.validation[-1].get(figure) if run.validation else None, form)


_FACTS: dict[str, Callable[[Record], str]] = {
    "model": lambda run: _model(run),
    "data": lambda run: _data(run),
    "views": lambda run: protocol.text(protocol.views(run.config)),
    "state": history.state,
    "loss": lambda run: _last(run, "loss", ".3f"),
    "mAP": lambda run: _last(run, "map"),
    "hit@1": lambda run: _last(run, "hit1"),
    "hit@5": lambda run: _last(run, "hit5") if run.has_top5 else UNKNOWN,
    "top-1": lambda run: _last(run, "top1"),
    "top-5": lambda run: _last(run, "top5") if run.has_top5 else UNKNOWN,
    "mean class": lambda run: _last(run, "mean_class"),
    "best top-1": lambda run: UNKNOWN if run.several else _best(run),
    "best mAP": lambda run: _best(run) if run.several else UNKNOWN,
    "published top-1": lambda run: _value(_published(run), ".1f"),
}


def _best(run: Record) -> str:
    best = run.best
    return f"{best[run.merit]:.1f} after {curve.when(best['step'], run.epoch_steps)}" if best else UNKNOWN


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


def _scores(run: Record, scores: Line) -> list[str]:
    known = scores.get("published", {}).get("top1") if "model" in scores else _published(run)
    known = known if "top1" in scores else None
    return [
        _value(scores["videos"], ",d"),
        _value(scores.get("map"), ".2f"),
        _value(scores.get("hit1"), ".2f"),
        _value(scores.get("hit5") if run.has_top5 else None, ".2f"),
        _value(scores.get("top1"), ".2f"),
        _value(scores.get("top5") if run.has_top5 else None, ".2f"),
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
    frames = f"f{model.num_frames // 2}x2" if model.num_frames > 1 else "images"
    return f"depth {model.depth}, {frames}{'' if model.in_channels == 3 else ', flow'}"


def _data(run: Record) -> str:
    if run.split is None:
        return run.config.data.root
    return f"{run.split.dataset}, {len(run.split.classes)} classes"


def _published(run: Record) -> float | None:
    return None if run.published is None else run.published.top1


def _value(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _table(texts: Sequence[str], figures: Sequence[str], rows: Sequence[tuple[list[str], list[str]]]) -> str:
    """A table of `rows` (texts as HTML, figures); a column of figures that no row has is left out."""
    known = [i for i in range(len(figures)) if any(found[i] != UNKNOWN for _, found in rows)]
    lines = [(texts, figures, "th"), *((*row, "td") for row in rows)]
    html = [
        "".join(f"<{tag}>{text}</{tag}>" for text in some)
        + "".join(f'<{tag} class="n">{found[i]}</{tag}>' for i in known)
        for some, found, tag in lines
    ]
    return "\n".join(['<div class="wide"><table>', *(f"<tr>{line}</tr>" for line in html), "</table></div>"])


def _texts(colour: int, run: Record, *others: str) -> list[str]:
    return [f"{curve.key(colour)}{escape(run.name)}", *map(escape, others)]

"""Frames of the answers that a model is surest of, wrong ones and right ones."""

from collections.abc import Sequence
from html import escape

from pipeline.evaluation import confusion
from pipeline.evaluation.confusion import Answer
from pipeline.reporting.record import Answers, Record
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.pages import contact
from sharding.pages.contact import Sheet
from sharding.pages.document import quiet, row
from sharding.pages.inspect import sample_rows

_MISTAKES = 12
_RIGHT = 6


def section(run: Record, answers: Answers, classes: Sequence[str]) -> str:
    """The most confident mistakes, and the most confident right answers of as many classes."""
    wrong = confusion.confident_mistakes(answers.labels, answers.logits, _MISTAKES)
    right = confusion.confident_answers(answers.labels, answers.logits, _RIGHT)
    problem, sheets = "", dict[str, Sheet]()
    try:
        sheets = _sheets(
            run.manifest(answers.split), [answers.keys[answer.number] for answer in wrong + right]
        )
    except UserError as error:
        problem = f'<p class="quiet">without pictures: {escape(str(error))}</p>'

    def shown(some: Sequence[Answer], none: str) -> list[str]:
        if not some:
            return [f'<p class="quiet">{none}</p>']
        keys = [answers.keys[answer.number] for answer in some]
        return [_shown(answer, key, classes, sheets.get(key)) for answer, key in zip(some, keys, strict=True)]

    return "\n".join(
        [
            "<h3>Confident mistakes<span>the wrong predictions of the highest probability</span></h3>",
            problem,
            *shown(wrong, "none: every video is recognised"),
            "<h3>Confident right answers<span>of each class its surest, the surest classes first</span></h3>",
            *shown(right, "none: no video is recognised"),
        ]
    )


def _sheets(made: Manifest, keys: Sequence[str]) -> dict[str, Sheet]:
    """The pictures of these samples, by key; without those that the split does not have."""
    placed = {sample.key: (url, sample) for url, sample in sample_rows(made)}
    found = [placed[key] for key in keys if key in placed]
    pictures = sum(len(contact.frames(sample.frames, None)) for _, sample in found)
    height = contact.picture_height(pictures)
    return {sample.key: contact.read(url, sample, None, height) for url, sample in found}


def _shown(answer: Answer, key: str, classes: Sequence[str], sheet: Sheet | None) -> str:
    true, predicted = escape(classes[answer.label]), escape(classes[answer.predicted])
    taken = f' <span class="bad">taken for {predicted}</span>' if answer.predicted != answer.label else ""
    facts = quiet([f"{100 * answer.probability:.1f} % sure", f"video {key}"])
    said = f"<p><b>{true}</b>{taken} {facts}</p>"
    if sheet is not None and sheet.problem is None:
        said += row(sheet.pictures)
    elif sheet is not None:
        said += f'<p class="bad">damaged: {escape(sheet.problem or "")}</p>'
    return f'<div class="sample">{said}</div>'

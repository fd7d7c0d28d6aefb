"""What an evaluation leaves in a folder or bucket, each file written in whole or not at all.

predictions-SPLIT.npz, .csv   of every video; arrays `keys`, `labels` (as in `Predictions`), `logits`
scores-SPLIT.json             scores, loss, and the views that were averaged
classes-SPLIT.csv             the accuracy of each class, or its average precision, best first
confusion-SPLIT.npz, .csv     videos by class (rows) and prediction (columns); not where videos have several labels
leaderboard-SPLIT.csv         of a split without labels: what Something-Something's leaderboards take
order-ORDER-SPLIT.json        what becomes of the scores with the frames in another order
"""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blvnet.ranking import top_classes
from pipeline.evaluation import confusion
from pipeline.evaluation.average_precision import class_precisions
from pipeline.evaluation.predictions import Predictions
from pipeline.labels import tensors
from pipeline.labels.loss import probabilities
from sharding import storage
from sharding.format.manifest import Manifest


def write_predictions(folder: str, split: Manifest, predictions: Predictions) -> None:
    """Logits as arrays; as a table each video's class, the best one, its probability, and the five best indices.

    Of several labels the table has the indices, and the probability is the sigmoid of the mean logit.
    """
    keys, labels, logits = predictions.keys, predictions.labels, predictions.logits
    arrays = {"keys": np.array(keys), "labels": labels.numpy(), "logits": logits.numpy()}
    storage.write_bytes(_url(folder, "predictions", split, "npz"), _npz(arrays))
    several = tensors.are_several(labels)
    probability = probabilities(logits, several).amax(1).tolist()
    rows = [
        (key, _names(split, label), split.classes[top[0]], f"{sure:.6f}", " ".join(map(str, top)))
        for key, label, sure, top in zip(
            keys, labels.tolist(), probability, top_classes(logits, 5).tolist(), strict=True
        )
    ]
    header = ("key", "labels" if several else "class", "predicted", "probability", "top5")
    storage.write_bytes(_url(folder, "predictions", split, "csv"), _csv([header, *rows]))


def write_scores(folder: str, split: Manifest, predictions: Predictions, content: dict[str, Any]) -> None:
    """`content` as scores-SPLIT.json, and what the labels tell class by class."""
    storage.write_bytes(_url(folder, "scores", split, "json"), _json(content))
    if tensors.are_several(predictions.labels):
        _write_precisions(folder, split, predictions)
        return
    counts = confusion.matrix(predictions.labels.numpy(), predictions.logits.numpy())
    table = [
        (
            score.label,
            split.classes[score.label],
            score.videos,
            f"{score.accuracy:.2f}",
            "" if score.taken_for is None else split.classes[score.taken_for],
        )
        for score in confusion.class_scores(counts)
    ]
    header = ("index", "class", "videos", "accuracy", "mostly_taken_for")
    storage.write_bytes(_url(folder, "classes", split, "csv"), _csv([header, *table]))
    arrays = {"confusion": counts, "classes": np.array(split.classes)}
    storage.write_bytes(_url(folder, "confusion", split, "npz"), _npz(arrays))
    lines = [(name, *row) for name, row in zip(split.classes, counts.tolist(), strict=True)]
    storage.write_bytes(
        _url(folder, "confusion", split, "csv"), _csv([("class", *range(len(lines))), *lines])
    )


def _write_precisions(folder: str, split: Manifest, predictions: Predictions) -> None:
    rows = [
        (each.label, split.classes[each.label], each.videos, f"{each.precision:.2f}")
        for each in class_precisions(predictions.labels.numpy(), predictions.logits.numpy())
    ]
    header = ("index", "class", "videos", "average_precision")
    storage.write_bytes(_url(folder, "classes", split, "csv"), _csv([header, *rows]))


def write_leaderboard(folder: str, split: Manifest, predictions: Predictions) -> None:
    """The file for the data set's leaderboard; nothing for a data set without one."""
    if split.dataset in ("sthv1", "sthv2"):
        text = leaderboard(split.dataset, split.classes, predictions)
        storage.write_bytes(_url(folder, "leaderboard", split, "csv"), text.encode())


def write_order(folder: str, split: Manifest, content: dict[str, Any]) -> None:
    """What the order of frames is worth."""
    storage.write_bytes(_url(folder, f"order-{content['order']}", split, "json"), _json(content))


def leaderboard(dataset: str, classes: list[str], predictions: Predictions) -> str:
    """A line a video: `id;class name` for v1, `id;a;b;c;d;e` with the five best indices for v2."""
    lines = []
    for key, top in zip(predictions.keys, top_classes(predictions.logits, 5).tolist(), strict=True):
        answer = [classes[top[0]]] if dataset == "sthv1" else map(str, top)
        lines.append(";".join([key, *answer]) + "\n")
    return "".join(lines)


def _names(split: Manifest, label: int | list[int]) -> str:
    """The name of a video's class; of several labels their indices, since names may hold any separator."""
    if isinstance(label, list):
        return " ".join(str(i) for i, value in enumerate(label) if value == 1)
    return split.classes[label] if label >= 0 else ""


def _url(folder: str, what: str, split: Manifest, kind: str) -> str:
    return storage.join(folder, f"{what}-{split.split}.{kind}")


def _csv(rows: Iterable[tuple[Any, ...]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"

"""What the folder of a run says of it, finished or still going on."""

import io
import json
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from blvnet import zoo
from blvnet.zoo import Published
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.evaluation.confusion import Floats, Ints
from pipeline.order import mixture, plan
from pipeline.run import journal, owner
from pipeline.run.journal import Line
from pipeline.run.owner import Life
from sharding import storage
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest

# What `pipeline.evaluate` writes.
_SCORES = re.compile(r"scores-.+\.json")
_ORDERS = re.compile(r"order-.+\.json")
_ANSWERS = re.compile(r"predictions-(.+)\.npz")


@dataclass(frozen=True)
class Answers:
    """The predictions for a labelled split: `keys` and `labels` (videos,), `logits` (videos, classes).

    Where videos have several labels, `labels` are zeros and ones, (videos, classes).
    `of`: whose they are: the run's, or those of released weights that were scored into its folder.
    """

    split: str
    keys: list[str]
    labels: Ints
    logits: Floats
    of: str

    @property
    def several(self) -> bool:
        return self.labels.ndim == 2


@dataclass(frozen=True)
class Record:
    """A run: its metrics, its evaluations, and its validation split; where that cannot be read, None.

    `starts`: what was written down at each start, the first one first; none by programs before 0.2.0. `life`: of the
    process that holds the folder, if one does. `epoch_steps`: steps in an epoch; None where nothing tells.
    """

    url: str
    name: str
    config: Config
    train: list[Line]
    validation: list[Line]
    evaluations: list[Line]
    orders: list[Line]
    split: Manifest | None
    starts: list[Line]
    life: Life | None
    epoch_steps: int | None

    @property
    def best(self) -> Line | None:
        """The validation of the highest score; of equals the first, as `checkpoints/best.json` has it."""
        return max(self.validation, key=lambda line: line[self.merit], default=None)

    @property
    def several(self) -> bool:
        """Whether its videos have several labels each, as its figures or its shards tell."""
        lines = [*self.validation, *self.train, *self.evaluations]
        if lines:
            return "map" in lines[0] or "hit1" in lines[0]
        return self.split is not None and self.split.several_labels

    @property
    def merit(self) -> str:
        """The figure by which checkpoints are compared."""
        return "map" if self.several else "top1"

    @property
    def has_top5(self) -> bool:
        """Whether a right answer may be missing among the first five."""
        return self.split is None or len(self.split.classes) > 5

    @property
    def finished(self) -> bool:
        """Whether the last epoch was trained, which is always evaluated."""
        return bool(self.validation) and self.validation[-1]["epoch"] == self.config.optim.epochs - 1

    @property
    def published(self) -> Published | None:
        """The published model of this shape and data set."""
        return None if self.split is None else published(self.config, self.split)

    def classes(self, count: int) -> list[str]:
        """The names of `count` classes; their numbers where the shards cannot be read, or have others.

        The released weights of another data set may have been scored into the run's folder.
        """
        if self.split is None or len(self.split.classes) != count:
            return [f"class {i}" for i in range(count)]
        return self.split.classes

    def manifest(self, split: str, root: str | None = None) -> Manifest:
        """The manifest of a split beside the run's own, or of the set at `root`."""
        return manifest.load(storage.join(root or self.config.data.root, split))

    def answers(self) -> list[Answers]:
        """The predictions of the evaluations on labelled splits."""
        found = []
        released = {scores["split"]: scores["model"] for scores in self.evaluations if "model" in scores}
        for file in storage.list_names(self.url):
            if match := _ANSWERS.fullmatch(file):
                with np.load(io.BytesIO(storage.read_bytes(storage.join(self.url, file)))) as arrays:
                    keys, labels, logits = (arrays[name] for name in ("keys", "labels", "logits"))
                if (labels >= 0).all():
                    split = match[1]
                    of = f"released {released[split]}" if split in released else self.name
                    found.append(Answers(split, [str(key) for key in keys], labels, logits, of))
        return found


def read(url: str, name: str) -> Record:
    """The run in the folder `url`, called `name`; `UserError` where there is no run."""
    config = configuration.load(storage.join(url, "config.yaml"), [])
    lines = journal.read(storage.join(url, "metrics.jsonl"))
    files = storage.list_names(url)
    train = [line for line in lines if line["kind"] == "train"]
    validation = [line for line in lines if line["kind"] == "validation"]
    return Record(
        url,
        name,
        config,
        train,
        validation,
        [_json(url, file) for file in files if _SCORES.fullmatch(file)],
        [_json(url, file) for file in files if _ORDERS.fullmatch(file)],
        _split(config.data.root, config.data.validation),
        _starts(url),
        owner.life(url),
        _epoch_steps(config, train, validation),
    )


def _starts(url: str) -> list[Line]:
    folder = storage.join(url, "starts")
    found = [_json(folder, file) for file in storage.list_names(folder) if file.endswith(".json")]
    return sorted(found, key=lambda start: start["time"])


def _epoch_steps(config: Config, train: list[Line], validation: list[Line]) -> int | None:
    """From a line of an epoch's last step; before there is one, from the training split."""
    ends = [*validation, *(line for line, after in pairwise(train) if after["epoch"] > line["epoch"])]
    if ends:
        return int(ends[0]["step"] // (ends[0]["epoch"] + 1))
    samples = 0
    for root, weight in [(config.data.root, 1.0), *config.data.mix.items()]:
        split = _split(root, config.data.train)
        if split is None:
            return None
        samples += mixture.share(weight, split.samples)
    return plan.steps_in_epoch(samples, config.optim.global_batch)


def _split(root: str, name: str) -> Manifest | None:
    """A split of a set; its shards may be out of reach by now."""
    try:
        return manifest.load(storage.join(root, name))
    except UserError:
        return None


def _json(url: str, file: str) -> Line:
    content: Line = json.loads(storage.read_bytes(storage.join(url, file)))
    return content


def published(config: Config, split: Manifest) -> Published | None:
    """The published model of the configuration's shape on the data set of `split`."""
    model = config.model
    if (model.alpha, model.beta, model.blending_frames, model.in_channels) != (2, 4, 3, 3):
        return None
    wanted = (model.depth, model.num_frames, split.dataset, len(split.classes))
    found = (m for m in zoo.ZOO.values() if (m.depth, m.num_frames, f"sth{m.dataset}", m.classes) == wanted)
    return next(found, None)


def names(urls: list[str]) -> list[str]:
    """What to call the runs: the last parts of their URLs, as many as it takes to tell them apart."""
    parts = [url.rstrip("/").split("/") for url in urls]
    for count in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-count:]) for part in parts]
        if len(set(found)) == len(found):
            return found
    return urls

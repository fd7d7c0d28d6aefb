"""What a run reports: `metrics.jsonl`, TensorBoard and the progress line, all from the same numbers."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from textwrap import indent
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.run.journal import Journal, Line
from pipeline.run.uploads import Uploads
from sharding import storage

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


LATE = 0.05
"""Share of the time by which a rank is behind the others before the progress line and the report say so."""


class Reporter:
    """Everything that the main process reports; the other ranks have none."""

    def __init__(
        self,
        config: Config,
        resumed_step: int,
        total_steps: int,
        guard: Callable[[], None],
        uploads: Uploads,
    ) -> None:
        folder = config.run.folder
        self._journal = Journal(storage.join(folder, "metrics.jsonl"), resumed_step, guard, uploads)
        # TensorBoard's event files cannot grow in a bucket; `metrics.jsonl` holds the same numbers there.
        self._curves = _tensorboard(config, resumed_step) if "://" not in folder else None
        self._total = total_steps
        self._bar = tqdm(
            total=total_steps,
            initial=resumed_step,
            desc="training",
            unit="step",
            disable=not sys.stderr.isatty(),
        )

    def train(self, line: Line) -> None:
        """A line of training metrics."""
        left_s = (self._total - line["step"]) * line["step_s"]
        self._write({"kind": "train", **line, "eta_s": left_s})
        first = f"top-1 {line['top1']:.1f}" if "top1" in line else f"hit@1 {line['hit1']:.1f}"
        text = (
            f"loss {line['loss']:.4f}  {first}  {line['clips_per_s']:.1f} clips/s  "
            f"data wait {line['data_wait']:.0%}"
        )
        text += late(line)
        if line["nonfinite"]:
            text += f"  {line['nonfinite']} steps without a finite loss"
        if self._bar.disable:
            ends = f"{timedelta(seconds=round(left_s))} left"
            print(f"step {line['step']}/{self._total}  epoch {line['epoch']}  {text}  {ends}", flush=True)
        else:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(line["step"] - self._bar.n)

    def validation(self, line: Line) -> None:
        """A line of validation scores."""
        self._write({"kind": "validation", **line})
        if "top1" in line:
            scores = f"top-1 {line['top1']:.2f}  top-5 {line['top5']:.2f}"
        else:
            scores = f"mAP {line['map']:.2f}  hit@1 {line['hit1']:.2f}"
        tqdm.write(
            f"epoch {line['epoch']}  validation loss {line['loss']:.4f}  {scores}  ({line['videos']} videos)"
        )
        sys.stdout.flush()

    def flush(self) -> None:
        """`metrics.jsonl` holds back nothing after this."""
        self._journal.flush()

    def close(self) -> None:
        """End every output; `uploads`, which the journal was flushed to, are closed before."""
        self._bar.close()
        if self._curves is not None:
            self._curves.close()

    def _write(self, line: Line) -> None:
        self._journal.write({**line, "time": round(time.time(), 3)})
        if self._curves is not None:
            for name, value in line.items():
                if isinstance(value, int | float) and name not in ("step", "epoch"):
                    tag = f"{line['kind']}/{name}"
                    self._curves.add_scalar(tag, value, line["step"])


def late(line: Line) -> str:
    """Which rank the others wait for, where that takes a twentieth of the time."""
    slowest = line.get("slowest")
    if slowest is None or slowest["behind"] < LATE:
        return ""
    return f"  rank {slowest['rank']} on {slowest['host']} is {slowest['behind']:.0%} behind in {slowest['stage']}"


def _tensorboard(config: Config, resumed_step: int) -> "SummaryWriter":
    """The writer, which has noted the configuration at the step from which it holds."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(config.run.folder, purge_step=resumed_step + 1)
    # TensorBoard shows texts as Markdown, where four blanks keep lines as they are.
    writer.add_text("configuration", indent(configuration.dump(config), "    "), resumed_step)
    return writer

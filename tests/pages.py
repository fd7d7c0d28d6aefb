"""HTML pages as a parser and as a real browser see them."""

import contextlib
import os
import shutil
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import need


class Parsed(HTMLParser):
    """The elements and the text of a page, as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def chromium(folder: Path, *options: str) -> str:
    """What headless Chromium prints; none of its processes is left."""
    program = shutil.which("chromium")
    need(program, "chromium is not installed")
    words = [
        str(program),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
    ]
    with subprocess.Popen(
        [*words, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, error = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, error
    return out


def screenshot(page: Path, width: int, height: int) -> NDArray[np.int64]:
    """What Chromium draws in a window of this size, (height, width, 3)."""
    target = page.with_suffix(".png")
    chromium(
        page.parent,
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        f"--window-size={width},{height}",
        f"--screenshot={target}",
        f"file://{page}",
    )
    return np.asarray(Image.open(target).convert("RGB")).astype(np.int64)


def pixels(drawn: NDArray[np.int64], colour: tuple[int, int, int]) -> int:
    """How many pixels of a screenshot have about this colour."""
    return int((abs(drawn - colour).max(axis=2) <= 12).sum())

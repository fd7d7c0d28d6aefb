"""Command lines whose mistakes end in one line."""

import argparse
import os
from typing import NoReturn

from sharding.errors import MISTAKE


class Arguments(argparse.ArgumentParser):
    """A parser that says what is wrong without the whole usage."""

    def error(self, message: str) -> NoReturn:
        """One line, and the status of a mistake."""
        self.exit(MISTAKE, f"error: {message}; see {self.prog} --help\n")


def place(text: str) -> str:
    """A path or URL; `~` at its beginning is the home folder, as shells have it where they see it."""
    return text if "://" in text else os.path.expanduser(text)  # noqa: PTH111 - Path would rewrite "./a"


def at_least_1(text: str) -> int:
    """A whole number for an option."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value

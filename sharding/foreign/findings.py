"""What was found in the tars of an index, until it is written: samples on disk, for no memory holds all of them."""

import contextlib
import os
import pickle
import tempfile

import numpy as np

from sharding.errors import UserError
from sharding.foreign.labels import Said
from sharding.foreign.scan import Scanned
from sharding.format.sidecar import Failure


class Findings:
    """What was found in each of so many tars, by their numbers.

    In memory are `said`, every label that a sample has, `failures`, the first of them of each tar that has some, and
    `notes`; and of each sample a few bytes. To be closed.
    """

    def __init__(self, tars: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as this object
        self._places: list[tuple[int, int]] = [(0, 0)] * tars
        self._keys: list[np.ndarray] = [np.empty(0, np.int64)] * tars
        self._notes: list[list[str]] = [[] for _ in range(tars)]
        self._failures: list[list[Failure]] = [[] for _ in range(tars)]
        self.said: set[Said] = set()

    def close(self) -> None:
        """Keep nothing."""
        with contextlib.suppress(OSError):  # what it could not write is told by now
            self._file.close()

    def add(self, tar: int, found: Scanned) -> None:
        """Keep what was found in a tar. Raises `UserError` where there is no room."""
        content = pickle.dumps(found)
        try:
            self._places[tar] = self._file.seek(0, os.SEEK_END), len(content)
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: no room for what was found in the tars ({error.strerror}); set TMPDIR to a "
                "folder that has some"
            ) from error
        self._keys[tar] = np.array([hash(sample.key) for sample in found.samples], np.int64)
        self._notes[tar], self._failures[tar] = found.notes, found.failures[:1]
        self.said.update(sample.label for sample in found.samples)

    def of(self, tar: int) -> Scanned:
        """What was found in a tar. Several threads may ask."""
        start, size = self._places[tar]
        found: Scanned = pickle.loads(os.pread(self._file.fileno(), size, start))
        return found

    @property
    def samples(self) -> int:
        """In all tars."""
        return sum(map(len, self._keys))

    @property
    def notes(self) -> list[str]:
        """Of all tars, in their order."""
        return [note for notes in self._notes for note in notes]

    @property
    def failures(self) -> list[Failure]:
        """The first one of each tar that has some."""
        return [failure for failures in self._failures for failure in failures]

    @property
    def keys_are_unique(self) -> bool:
        """Whether no two samples have the same key; in one set of a million millions that is said wrongly."""
        return len(np.unique(np.concatenate(self._keys))) == self.samples

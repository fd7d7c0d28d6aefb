"""How far an evaluation is: a bar in a terminal, a line now and then in a log."""

from sharding.workers import progress


class Progress:
    """Of an evaluation of `videos` videos, on stderr; a context. Where it is not `shown`, nothing is said."""

    def __init__(self, videos: int, title: str, shown: bool) -> None:
        self._videos, self._done = videos, 0
        self._bar = progress.bar(title, videos, "video", shown=shown, leave=False)

    def add(self, videos: int) -> None:
        """About so many more are through, on all ranks together; the last batch may be smaller."""
        before, self._done = self._done, min(self._videos, self._done + videos)
        self._bar.update(self._done - before)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

"""What follows from the loss of a worker: another try, the video recorded as broken, or the end of the build."""

from collections import Counter

from sharding.errors import UserError
from sharding.workers.pool import Lost, Task

# What a decoder that runs wild ends with, or what the system does with one that takes all memory.
_CRASHES = {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"}
_KILLED = "SIGKILL"
_TRIES = 3


class Losses:
    """Remembers the losses of a build.

    A video over the time limit is broken at once; a crash or SIGKILL counts against the video that was decoded
    when it happens a second time; a shard whose worker is lost a third time elsewhere ends the build.
    """

    def __init__(self, video_limit_s: float) -> None:
        self._limit_s = video_limit_s
        self._crashes: Counter[tuple[str, str]] = Counter()
        self._others: Counter[str] = Counter()

    def judge(self, lost: Lost[Task], shard: str) -> tuple[dict[str, str], str]:
        """The videos to leave out when `shard` is built again, each with its reason, and a line for the user."""
        where = f"{shard}, video {lost.step}" if lost.step is not None else shard
        if lost.exitcode is None and lost.step is not None:
            reason = f"not decoded within {self._limit_s:g} s"
            return {lost.step: reason}, f"{where}: {reason}; the shard begins again without it"
        cause = f"ended by {lost.signal}" if lost.signal else f"ended with exit status {lost.exitcode}"
        if lost.step is not None and (lost.signal in _CRASHES or lost.signal == _KILLED):
            self._crashes[shard, lost.step] += 1
            if self._crashes[shard, lost.step] > 1:
                reason = f"the decoder crashed ({lost.signal})"
                if lost.signal == _KILLED:
                    self._others[shard] = 0
                    reason = f"its worker was killed twice ({_KILLED}): it takes too much memory, most likely"
                return {lost.step: reason}, f"{where}: {reason}; the shard begins again without it"
            if lost.signal in _CRASHES:
                return {}, f"{where}: its worker was {cause}; the shard begins again"
        self._others[shard] += 1
        if self._others[shard] >= _TRIES:
            raise UserError(
                f"{where}: its worker was {cause}, {_TRIES} times in this shard; if memory is short, "
                "use fewer --workers; run the same command again to go on"
            )
        return {}, f"{where}: its worker was {cause}; the shard begins again"

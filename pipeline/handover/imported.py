"""What a process has imported. The server of loader processes imports this last, before they are made of it."""

import os
import sys
from collections.abc import Iterable

_PROCESS = os.getpid()
_MODULES = frozenset(sys.modules)


def missing(names: Iterable[str]) -> list[str]:
    """Which of `names` the server had not imported, so that this process does so for itself."""
    inherited = _MODULES if os.getpid() != _PROCESS else frozenset[str]()
    return [name for name in names if name not in inherited]

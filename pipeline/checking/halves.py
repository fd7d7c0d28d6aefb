"""Which nodes spoil an exchange between all: found by halves, whatever the exchange is. No torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Groups = list[list[str]]
Try = Callable[[Groups], list[bool]]
"""Whether each of several groups, which have no node in common and are tried at once, can exchange among itself."""

_ROUNDS = 3


@dataclass(frozen=True)
class Found:
    """Whether all nodes together can exchange; if not, the `bad` ones, none where no node is to blame."""

    works: bool
    bad: list[str] = field(default_factory=list)


def search(nodes: Sequence[str], attempt: Try) -> Found:
    """Try all nodes together; if they cannot exchange, name those that keep the others from it.

    A group that fails is cut in two until single nodes are left; each of those is tried with one that is known to be
    sound. Where no two nodes can exchange, all of them are named.
    """
    everyone = list(nodes)
    if len(everyone) < 2 or attempt([everyone])[0]:
        return Found(True)
    sound: list[str] = []
    suspects: list[str] = []
    failed = [everyone]
    while failed:
        halves = [half for group in failed for half in (group[: len(group) // 2], group[len(group) // 2 :])]
        suspects += [half[0] for half in halves if len(half) == 1]
        groups = [half for half in halves if len(half) > 1]
        works = attempt(groups) if groups else []
        sound += [node for group, good in zip(groups, works, strict=True) if good for node in group]
        failed = [group for group, good in zip(groups, works, strict=True) if not good]
    sound = sound or _some_pair(suspects, attempt)
    suspects = [node for node in suspects if node not in sound]
    if not sound:
        return Found(False, everyone)
    bad = []
    for i in range(0, len(suspects), len(sound)):
        some = suspects[i : i + len(sound)]
        works = attempt([[node, friend] for node, friend in zip(some, sound, strict=False)])
        bad += [node for node, good in zip(some, works, strict=True) if not good]
    return Found(False, sorted(bad, key=everyone.index))


def _some_pair(nodes: list[str], attempt: Try) -> list[str]:
    """The nodes of pairs that can exchange, from the first of a few rounds of other pairs in which there is one."""
    for apart in range(1, min(_ROUNDS, len(nodes) - 1) + 1):
        free, pairs = list(nodes), []
        for i in range(len(nodes) - apart):
            if nodes[i] in free and nodes[i + apart] in free:
                pairs.append([nodes[i], nodes[i + apart]])
                free = [node for node in free if node not in pairs[-1]]
        works = attempt(pairs)
        if found := [node for pair, good in zip(pairs, works, strict=True) if good for node in pair]:
            return found
    return []

"""The search by halves names the nodes that keep the others from exchanging, in few rounds."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.checking.halves import Groups, search


class Cluster:
    """`bad` nodes can exchange with nobody; every group that was tried is counted."""

    def __init__(self, bad: set[str], deaf: bool = False) -> None:
        self.bad, self.rounds, self.deaf = bad, 0, deaf

    def attempt(self, groups: Groups) -> list[bool]:
        self.rounds += 1
        nodes = [node for group in groups for node in group]
        assert len(set(nodes)) == len(nodes), "a node is in two groups at once"
        assert all(len(group) > 1 for group in groups)
        return [not self.bad & set(group) and not (self.deaf and len(group) > 4) for group in groups]


@given(st.integers(2, 70), st.data())
def test_the_bad_nodes_are_named_and_no_others(count: int, data: st.DataObject) -> None:
    nodes = [f"n{i}" for i in range(count)]
    bad = set(data.draw(st.lists(st.sampled_from(nodes), max_size=2, unique=True)))
    cluster = Cluster(bad)
    found = search(nodes, cluster.attempt)
    assert found.works == (not bad)
    if len(nodes) - len(bad) >= 2:
        assert found.bad == [node for node in nodes if node in bad]
    else:
        assert set(found.bad) >= bad
    assert cluster.rounds <= count.bit_length() + 5


def test_sound_nodes_alone_are_tried_once() -> None:
    cluster = Cluster(set())
    assert search(["a", "b", "c"], cluster.attempt).works
    assert cluster.rounds == 1


def test_one_node_has_nobody_to_exchange_with() -> None:
    assert search(["a"], Cluster({"a"}).attempt).works


def test_where_parts_work_and_the_whole_does_not_no_node_is_to_blame() -> None:
    found = search([f"n{i}" for i in range(8)], Cluster(set(), deaf=True).attempt)
    assert not found.works
    assert found.bad == []


def test_where_no_two_can_all_are_named() -> None:
    assert search(["a", "b", "c", "d"], Cluster({"a", "b", "c", "d"}).attempt).bad == ["a", "b", "c", "d"]

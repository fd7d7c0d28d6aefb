import gc
import os
import random
import re
import time
from collections.abc import Callable

import pytest

from sharding import storage
from sharding.errors import UnreachableError, UserError
from sharding.storage import patience
from tests.faults import Decide, Fault, FaultProxy, Request
from tests.stores import fresh_clients
from tests.unit.sharding.storage.conftest import PART, Clock

pytestmark = [
    pytest.mark.store,
    # Google's client leaves the answers of failed downloads to the collector, and so does the proxy now and then
    # with a connection that a client dropped.
    pytest.mark.filterwarnings(r"ignore:Exception ignored in. <(socket.socket|function _SelectorTransport)"),
]


@pytest.fixture
def faulty(proxied: tuple[str, FaultProxy], monkeypatch: pytest.MonkeyPatch) -> tuple[str, FaultProxy]:
    """An empty root of each store, reached through a proxy, with short waits."""
    monkeypatch.setattr(patience, "READ_TIMEOUT_S", 3.0)
    monkeypatch.setattr(patience, "BACKOFF_S", 0.02)
    monkeypatch.setattr(patience, "BACKOFF_MAX_S", 0.1)
    return proxied


def _first(count: int, fault: Fault, *methods: str) -> Decide:
    """Does `fault` to the first `count` requests of these methods."""
    faults = [fault] * count
    return lambda request: faults.pop() if faults and request.method in methods else None


def _publish(url: str, data: bytes) -> None:
    with storage.publish(url) as stream:
        for start in range(0, len(data), 1 << 20):
            stream.write(data[start : start + (1 << 20)])


def test_a_store_that_refuses_three_requests_in_ten_loses_nothing(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    chance = random.Random(1)
    proxy.decide = lambda request: Fault(status=503) if chance.random() < 0.3 else None
    big, small = os.urandom(2 * PART + 12345), [os.urandom(1000 * n) for n in range(8)]
    for n, data in enumerate(small):
        storage.write_bytes(f"{root}/{n}", data)
    _publish(f"{root}/big", big)
    assert storage.list_names(root) == [*map(str, range(8)), "big"]
    for n, data in enumerate(small):
        assert storage.read_bytes(f"{root}/{n}") == data
        assert storage.size(f"{root}/{n}") == len(data)
        storage.remove(f"{root}/{n}")
    assert storage.read_bytes(f"{root}/big") == big
    assert storage.list_names(root) == ["big"]
    assert len(proxy.requests) > 40


def test_a_reset_upload_is_sent_again(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    data = os.urandom(PART + 100_000)
    proxy.decide = _first(3, Fault(reset_upload=60_000), "PUT", "POST")
    _publish(f"{root}/published", data)
    assert storage.read_bytes(f"{root}/published") == data
    proxy.decide = _first(3, Fault(reset_upload=60_000), "PUT", "POST")
    storage.write_bytes(f"{root}/written", data)
    assert storage.read_bytes(f"{root}/written") == data


def test_an_upload_whose_answer_is_lost_is_there_once_and_whole(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    # The GCS emulator refuses a part that it has already; the service takes it.
    data = os.urandom(100_000 if root.startswith("gs:") else PART + 100_000)
    lost: set[str] = set()

    def lose_each_once(request: Request) -> Fault | None:
        kind = f"{request.method} {re.sub(r'[0-9a-f-]{16,}', '', request.target)}"
        if request.method not in ("PUT", "POST") or kind in lost:
            return None
        lost.add(kind)
        return Fault(lose_answer=True)

    proxy.decide = lose_each_once
    storage.write_bytes(f"{root}/written", data)
    assert lost
    _publish(f"{root}/published", data)
    proxy.decide = lambda request: None
    assert storage.read_bytes(f"{root}/written") == data
    assert storage.read_bytes(f"{root}/published") == data


def test_a_broken_download_goes_on_at_the_byte_where_it_broke(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    data = os.urandom(3_000_000)
    storage.write_bytes(f"{root}/a", data)
    proxy.requests.clear()
    proxy.decide = _first(4, Fault(reset_download=400_000), "GET")
    with storage.open_read(f"{root}/a", 1000) as stream:
        assert stream.read() == data[1000:]
    answered = sum(request.answered for request in proxy.requests)
    # Google's and Azure's clients fetch a chunk again from its start.
    assert answered < len(data) + 4 * 400_000 + 10_000
    if root.startswith("s3:"):
        starts = [int(request.headers["range"][6:-1]) for request in proxy.requests]
        assert starts[0] == 1000 and sorted(set(starts)) == starts and len(starts) == 5
        assert all("if-match" in request.headers for request in proxy.requests[1:])
        assert answered < len(data) + 4 * 300_000  # what the proxy sent and the reset swallowed


def test_a_bounded_read_pulls_its_own_bytes_alone_through_breaks_too(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    data = os.urandom(3_000_000)
    storage.write_bytes(f"{root}/a", data)
    proxy.requests.clear()
    with storage.open_read(f"{root}/a", 1000, 1_500_000) as stream:
        assert stream.read() == data[1000:1_500_000]
    assert sum(request.answered for request in proxy.requests) < 1_499_000 + 3000  # and a blob's properties
    proxy.requests.clear()
    proxy.decide = _first(2, Fault(reset_download=400_000), "GET")
    with storage.open_read(f"{root}/a", 1000, 1_500_000) as stream:
        assert stream.read() == data[1000:1_500_000]
    if root.startswith("s3:"):
        ranges = [request.headers["range"] for request in proxy.requests]
        assert len(set(ranges)) == 3 and all(asked.endswith("-1499999") for asked in ranges)
        assert all("if-match" in request.headers for request in proxy.requests[1:])


def test_a_store_that_hangs_once_only_delays(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    storage.write_bytes(f"{root}/a", b"content")
    proxy.decide = _first(1, Fault(hang=20), "GET", "HEAD")
    assert storage.read_bytes(f"{root}/a") == b"content"


def test_a_store_that_hangs_for_good_is_told_in_bounded_time(
    faulty: tuple[str, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, proxy = faulty
    storage.write_bytes(f"{root}/a", b"content")
    monkeypatch.setattr(patience, "READ_TIMEOUT_S", 0.4)
    monkeypatch.setattr(patience, "TOTAL_S", 0.5)
    proxy.decide = lambda request: Fault(hang=20)
    with fresh_clients():
        for name, call in {
            "read": lambda: storage.read_bytes(f"{root}/a"),
            "write": lambda: storage.write_bytes(f"{root}/b", b"x"),
            "look up": lambda: storage.exists(f"{root}/a"),
            "list": lambda: storage.list_names(root),
            "remove": lambda: storage.remove(f"{root}/a"),
        }.items():
            name = "look it up" if name == "look up" else f"{name} it"
            start = time.monotonic()
            with pytest.raises(UnreachableError, match=rf"cannot {name}: .*[Tt]imed? ?-?out") as caught:
                call()
            assert root in str(caught.value) and "\n" not in str(caught.value)
            assert time.monotonic() - start < 60
    assert len(proxy.requests) > 5
    monkeypatch.setattr(patience, "READ_TIMEOUT_S", 10)
    proxy.decide = lambda request: None
    with fresh_clients():
        assert storage.list_names(root) == ["a"]


def test_when_the_time_is_up_the_error_names_url_and_cause(
    faulty: tuple[str, FaultProxy], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, proxy = faulty
    storage.write_bytes(f"{root}/old", b"before")
    monkeypatch.setattr(patience, "TOTAL_S", 0.5)
    with fresh_clients():
        for write in (_publish, storage.write_bytes):
            for name in ("old", "new"):
                proxy.requests.clear()
                proxy.decide = lambda request: Fault(status=503)
                with pytest.raises(UserError, match=rf"{root}/{name}: cannot write .*503"):
                    write(f"{root}/{name}", os.urandom(PART + 5))
                assert 3 <= len(proxy.requests) < 40
                gc.collect()
                proxy.decide = lambda request: None
                assert storage.list_names(root) == ["old"]
                assert storage.read_bytes(f"{root}/old") == b"before"


@pytest.mark.parametrize("write", [_publish, storage.write_bytes])
def test_an_upload_that_is_refused_in_its_middle_never_appears(
    faulty: tuple[str, FaultProxy], write: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, proxy = faulty
    monkeypatch.setattr(patience, "PUT_BYTES", PART)
    data = os.urandom(2 * PART + 5)
    write(f"{root}/whole", data)
    assert storage.read_bytes(f"{root}/whole") == data
    sent = [request for request in proxy.requests if request.method in ("PUT", "POST")]
    storage.remove(f"{root}/whole")
    for count in range(len(sent)):
        passed: list[Request] = []

        def decide(request: Request, count: int = count, passed: list[Request] = passed) -> Fault | None:
            if request.method not in ("PUT", "POST"):
                return None
            passed.append(request)
            return Fault(status=403) if len(passed) == count + 1 else None

        proxy.decide = decide
        with pytest.raises(UserError, match="HTTP 403"):
            write(f"{root}/a", data)
        gc.collect()  # a forgotten stream would be closed, and thereby published, by the collector
        assert storage.list_names(root) == []


def test_an_abandoned_upload_never_appears_even_if_abandoning_fails(
    faulty: tuple[str, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, proxy = faulty
    monkeypatch.setattr(patience, "TOTAL_S", 0.3)
    with fresh_clients():
        with pytest.raises(ZeroDivisionError), storage.publish(f"{root}/a") as stream:
            stream.write(bytes(PART + 7))
            proxy.decide = lambda request: Fault(status=503)
            raise ZeroDivisionError
        proxy.decide = lambda request: None
        del stream
        gc.collect()
        assert storage.list_names(root) == []


def test_a_body_that_never_comes_is_told_with_its_byte(
    faulty: tuple[str, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, proxy = faulty
    data = os.urandom(3_000_000)
    storage.write_bytes(f"{root}/a", data)
    monkeypatch.setattr(patience, "TOTAL_S", 0.5)
    with fresh_clients(), storage.open_read(f"{root}/a") as stream:
        assert stream.read(1_000_000) == data[:1_000_000]
        proxy.decide = lambda request: Fault(reset_download=0)
        if root.startswith("s3:"):  # its one answer is still under way
            _forget_body(stream)
        with pytest.raises(UserError, match=rf"{root}/a: cannot read on at byte \d+ of 3000000: ") as caught:
            stream.read()
        place = int(str(caught.value).split("at byte ")[1].split()[0])
        assert 1_000_000 <= place < 3_000_000


def test_an_object_that_changes_while_it_is_read_is_an_error(faulty: tuple[str, FaultProxy]) -> None:
    root, _ = faulty
    # The GCS emulator knows no conditions; the next test shows that they are sent.
    for change in ("remove", "replace")[: 1 if root.startswith("gs:") else 2]:
        storage.write_bytes(f"{root}/a", bytes(3_000_000))
        with storage.open_read(f"{root}/a") as stream:
            stream.read(1_000_000)
            storage.remove(f"{root}/a")
            if change == "replace":
                storage.write_bytes(f"{root}/a", b"\1" * 3_000_000)
            if root.startswith("s3:"):
                _forget_body(stream)
            with pytest.raises(
                UserError, match=rf"{root}/a: cannot read on at byte \d+ of 3000000: .*replaced or"
            ):
                stream.read()


def test_reading_on_asks_for_the_same_version(faulty: tuple[str, FaultProxy]) -> None:
    root, proxy = faulty
    storage.write_bytes(f"{root}/a", bytes(3_000_000))
    with storage.open_read(f"{root}/a") as stream:
        stream.read(1_000_000)
        proxy.requests.clear()
        proxy.decide = lambda request: Fault(status=412)
        if root.startswith("s3:"):
            _forget_body(stream)
        with pytest.raises(UserError, match="replaced or removed while it was read"):
            stream.read()
    assert [r for r in proxy.requests if "if-match" in r.headers or "ifGenerationMatch=" in r.target]


def _forget_body(stream: object) -> None:
    """Let the next read send a new request, as after a broken connection."""
    stream.raw._source.close()  # type: ignore[attr-defined]

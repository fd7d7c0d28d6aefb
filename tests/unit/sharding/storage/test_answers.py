"""What stores' odd and final answers are told as, and that no secret is ever told."""

import contextlib
import os
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import boto3.session
import google.auth
import google.auth.exceptions
import pytest
from azure.storage.blob import BlobServiceClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth.credentials import AnonymousCredentials

from sharding import storage
from sharding.errors import UserError
from sharding.storage import answers, patience
from sharding.storage import azure as azure_store
from sharding.storage import gcs as gcs_store
from tests.faults import Decide, Fault, FaultProxy, Request, fault_proxy
from tests.stores import PUBLIC_BUCKET, fresh_clients
from tests.unit.sharding.storage.conftest import ENDPOINTS, PART, Clock
from tests.unit.sharding.storage.test_patience import OPERATIONS

pytestmark = [
    pytest.mark.store,
    pytest.mark.filterwarnings(r"ignore:Exception ignored in. <(socket.socket|function _SelectorTransport)"),
]


@pytest.fixture
def s3_proxy(s3: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(int(os.environ["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setattr(patience, "PART_BYTES", PART)
        with fresh_clients():
            yield proxy


def told(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def always(fault: Fault, *methods: str, target: str = "") -> Decide:
    return lambda r: fault if (not methods or r.method in methods) and target in r.target else None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            Fault(400, code="ExpiredToken"),
            "HTTP 400 ExpiredToken: of the proxy; the credentials have expired: renew",
        ),
        (Fault(403, code="RequestTimeTooSkewed"), "set this machine's clock"),
        (
            Fault(403, code="AccessDenied"),
            "AccessDenied: of the proxy; check the credentials and their rights",
        ),
        (Fault(301, code="PermanentRedirect"), "the bucket is in another region or at another endpoint"),
        (Fault(307, headers=("x-amz-bucket-region: eu-north-1",)), "set AWS_DEFAULT_REGION=eu-north-1"),
        (Fault(412, code="PreconditionFailed"), "HTTP 412 PreconditionFailed: of the proxy"),
        (Fault(200), "the answer to get_object has no ETag"),
    ],
)
def test_final_answers_come_with_advice(s3: str, s3_proxy: FaultProxy, fault: Fault, words: str) -> None:
    s3_proxy.decide = always(fault)
    assert words in told(lambda: storage.read_bytes(f"{s3}/a"))


def test_an_answer_to_head_reads_well(s3: str, s3_proxy: FaultProxy) -> None:
    s3_proxy.decide = always(Fault(403))
    assert told(lambda: storage.exists(f"{s3}/a")) == (
        f"{s3}/a: cannot look it up: HTTP 403 Forbidden; check the credentials and their rights"
    )


def test_a_region_that_an_answer_names_is_followed(s3: str, s3_proxy: FaultProxy) -> None:
    storage.write_bytes(f"{s3}/a", b"content")
    elsewhere = Fault(301, code="PermanentRedirect", headers=("x-amz-bucket-region: eu-north-1",))
    s3_proxy.decide = lambda request: elsewhere if "us-east-1" in request.headers["authorization"] else None
    s3_proxy.requests.clear()
    assert storage.read_bytes(f"{s3}/a") == b"content"
    assert len(s3_proxy.requests) == 2


def test_an_upload_whose_answers_lack_something_is_told(s3: str, s3_proxy: FaultProxy) -> None:
    def upload() -> None:
        with storage.publish(f"{s3}/a") as stream:
            stream.write(bytes(PART + 1))

    s3_proxy.decide = always(Fault(200, code=""), "PUT")
    assert "the answer to upload_part has no ETag" in told(upload)
    s3_proxy.decide = always(Fault(200, code=""), "POST")
    assert "the answer to create_multipart_upload has no UploadId" in told(upload)
    s3_proxy.decide = lambda request: None
    assert storage.list_names(s3) == []


def test_an_error_within_a_good_answer_to_completing_is_waited_out(
    s3: str, s3_proxy: FaultProxy, clock: Clock
) -> None:
    faults = [Fault(200, code="InternalError")] * 2
    s3_proxy.decide = lambda r: (
        faults.pop() if faults and r.method == "POST" and "uploadId" in r.target else None
    )
    with storage.publish(f"{s3}/a") as stream:
        stream.write(b"content")
    assert storage.read_bytes(f"{s3}/a") == b"content"
    assert clock.now > 0 and not faults


@pytest.mark.parametrize("kind", ["refused", "503", "403", "odd"])
def test_a_password_in_an_endpoint_is_never_told(
    proxied: tuple[str, FaultProxy],
    clock: Clock,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, proxy = proxied
    variable = ENDPOINTS[root.partition(":")[0]]
    with_password = os.environ[variable].replace("http://127", "http://user:s3cret@127")
    monkeypatch.setenv(variable, with_password)
    monkeypatch.setattr(patience, "_said_at", -1e9)
    with fresh_clients():
        if not root.startswith("azure:"):  # whose key it would replace
            storage.write_bytes(f"{root}/kept", b"content")  # it does no harm
        if kind == "refused":
            proxy.refuse()
        proxy.decide = always({"503": Fault(503), "403": Fault(403)}.get(kind, Fault(200)))
        for name, (act, _) in OPERATIONS.items():
            try:
                act(root)
            except UserError as error:
                assert "s3cret" not in "".join(traceback.format_exception(error))
            else:
                assert kind == "odd", name
        if kind == "refused":
            proxy.listen()
    said = capsys.readouterr()
    assert "s3cret" not in said.out + said.err


def test_a_wrong_endpoint_with_a_password_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for endpoint in ("user:s3cret@host:9000", "http://user:s3cret@host:port", "http://user:s3cret@ho st"):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setattr(patience, "TOTAL_S", 0.0)
        with fresh_clients():
            text = told(lambda: storage.exists("s3://bucket/a"))
        assert "s3cret" not in text and text.startswith("s3://bucket/a: cannot look it up: ")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('the URL: "http://user:pass@host:9/b/k"', 'the URL: "http://host:9/b/k"'),
        ("https://user@host/b", "https://host/b"),
        ("http://user:p@ss@host", "http://host"),
        ("http://user:pa/ss@host/b", "http://host/b"),
        ("user:pass@host:9000", "host:9000"),
        ("http://127.0.0.1:9/bucket/a@b", "http://127.0.0.1:9/bucket/a@b"),
        ("http://host/bucket/a@b", "http://host/bucket/a@b"),
        ("url: /c/b?sv=2025&sig=ab%2Fc%3D&se=1 (Caused", "url: /c/b?sv=2025&sig=...&se=1 (Caused"),
        ("nothing: of the kind, a@b.c", "nothing: of the kind, a@b.c"),
    ],
)
def test_secrets_are_cut_out_of_text(text: str, plain: str) -> None:
    assert answers.without_secrets(text) == plain


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[str]:
    """A server with a certificate that nobody vouches for: its address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(today).not_valid_after(today + timedelta(days=1))
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem) + plain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            with connection, contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("store", ENDPOINTS)
def test_a_server_that_is_not_trusted_is_told_at_once(
    impostor: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    azure_text = (
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aw==;BlobEndpoint=https://{impostor}/a;"
    )
    monkeypatch.setenv(ENDPOINTS[store], azure_text if store == "azure" else f"https://{impostor}")
    with fresh_clients():
        assert "CERTIFICATE_VERIFY_FAILED" in told(lambda: storage.exists(f"{store}://bucket/a"))
    assert clock.now == 0


# Public buckets


@contextlib.contextmanager
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with fresh_clients():
        yield


def test_a_public_bucket_is_read_without_credentials(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = s3.replace("tests", PUBLIC_BUCKET, 1)
    storage.write_bytes(f"{root}/a", b"content")
    with nobody(monkeypatch):
        assert storage.read_bytes(f"{root}/a") == b"content"
        assert storage.list_names(root) == ["a"]
        assert not storage.exists(f"{root}/b")
        for call in (lambda: storage.write_bytes(f"{root}/b", b""), lambda: storage.read_bytes(f"{s3}/a")):
            assert (
                "HTTP 403 AccessDenied: Access Denied; there are no credentials; set AWS_ACCESS_KEY_ID"
                in told(call)
            )


def test_a_public_container_is_read_without_credentials(azure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    root = azure.replace("tests", PUBLIC_BUCKET, 1)
    with BlobServiceClient.from_connection_string(text) as client:
        client.create_container(PUBLIC_BUCKET, public_access="container")
    storage.write_bytes(f"{root}/a", b"content")
    storage.write_bytes(f"{azure}/a", b"content")
    endpoint = next(part for part in text.split(";") if part.startswith("BlobEndpoint"))
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{endpoint};AccountName=tests")
    with fresh_clients():
        assert storage.read_bytes(f"{root}/a") == b"content"
        assert storage.list_names(root) == ["a"]
        assert not storage.exists(f"{root}/b")
        for call in (lambda: storage.write_bytes(f"{root}/b", b""), lambda: storage.read_bytes(f"{azure}/a")):
            assert "there are no credentials; set AZURE_STORAGE_KEY" in told(call)


@pytest.mark.usefixtures("gs")
def test_without_credentials_google_is_asked_unsigned(gs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**asked: object) -> None:
        raise google.auth.exceptions.DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr(google.auth, "default", none)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    with fresh_clients():
        assert isinstance(gcs_store._client()._credentials, AnonymousCredentials)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    with fresh_clients():  # credentials that were meant to be there are missed
        assert "DefaultCredentialsError" in told(lambda: storage.exists(f"{gs}/a"))


def test_google_is_told_of_as_private_where_it_wants_credentials(
    gs: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_proxy(0, always(Fault(401))) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.endpoint)
        with fresh_clients():
            text = told(lambda: storage.exists(f"{gs}/a"))
    assert "HTTP 401; there are no credentials; set GOOGLE_APPLICATION_CREDENTIALS" in text


def test_azure_asks_for_an_identity_where_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECTION_STRING", "KEY", "SAS_TOKEN"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "somebody")
    with fresh_clients():
        assert azure_store._is_unsigned()
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=2025&sig=abc")
    with fresh_clients():
        assert not azure_store._is_unsigned()
    monkeypatch.delenv("AZURE_STORAGE_SAS_TOKEN")
    monkeypatch.setattr(azure_store, "_identity", lambda: _Identity())
    with fresh_clients():
        assert not azure_store._is_unsigned()


class _Identity:
    def get_token(self, *scopes: str) -> None: ...


# Uploads that killed writers left


def unfinished() -> list[str]:
    client = boto3.session.Session().client("s3")
    try:
        return sorted(
            upload["Key"] for upload in client.list_multipart_uploads(Bucket="tests").get("Uploads", [])
        )
    finally:
        client.close()


def test_the_next_writer_aborts_what_a_killed_one_left_of_the_same_object_alone(s3: str) -> None:
    folder = s3.rpartition("/")[2]
    client = boto3.session.Session().client("s3")
    for key in ("a.tar", "a.tar", "a.tar.json", "b.tar"):
        client.create_multipart_upload(Bucket="tests", Key=f"{folder}/{key}")
    client.close()
    assert unfinished() == [f"{folder}/{key}" for key in ("a.tar", "a.tar", "a.tar.json", "b.tar")]
    with storage.publish(f"{s3}/a.tar") as stream:
        stream.write(b"content")
        assert unfinished() == [f"{folder}/{key}" for key in ("a.tar", "a.tar.json", "b.tar")]
    assert unfinished() == [f"{folder}/{key}" for key in ("a.tar.json", "b.tar")]
    assert storage.read_bytes(f"{s3}/a.tar") == b"content"


def test_a_writer_whose_upload_another_one_aborted_says_so(s3: str) -> None:
    def write_twice() -> None:
        with storage.publish(f"{s3}/a") as first:
            with storage.publish(f"{s3}/a") as second:
                second.write(b"the second's")
            first.write(b"the first's")

    assert "NoSuchUpload" in (text := told(write_twice)) and "another program began to write" in text
    assert storage.read_bytes(f"{s3}/a") == b"the second's"


@pytest.mark.parametrize("status", [403, 501])
def test_a_store_that_does_not_list_uploads_is_written_all_the_same(
    s3: str, s3_proxy: FaultProxy, status: int
) -> None:
    def no_lists(request: Request) -> Fault | None:
        return Fault(status) if request.method == "GET" and "uploads" in request.target else None

    s3_proxy.decide = no_lists
    with storage.publish(f"{s3}/a") as stream:
        stream.write(b"content")
    s3_proxy.decide = lambda request: None
    assert storage.read_bytes(f"{s3}/a") == b"content"

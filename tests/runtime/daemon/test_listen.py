"""Where the daemon listens: loopback without TLS, further only with it, and never over a file."""

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from models.errors import StorageFailed, UsageError
from runtime.config import Config, DaemonConfig
from runtime.daemon import place
from runtime.daemon.certificate import Certificate
from runtime.daemon.errors import DaemonRunning, ListenRefused
from runtime.daemon.listen import Listening, is_loopback, listen
from runtime.daemon.server import serve
from runtime.daemon.tokens import TokenStore
from runtime.ledger import Ledger
from tests.runtime.daemon.certificates import certificate
from tests.runtime.daemon.scripted import NOBODY, ScriptedAgent, plain


def settings(**values: Any) -> DaemonConfig:
    return DaemonConfig(**{"port": 0, **values})


def opened(path: Path, daemon: DaemonConfig, handed: Sequence[socket.socket] = ()) -> None:
    """Listen, and stop at once."""
    with listen(path, daemon, handed):
        pass


@asynccontextmanager
async def serving(folder: Path, daemon: DaemonConfig) -> AsyncIterator[Listening]:
    """A daemon with these settings, in this event loop."""
    ledger = Ledger(folder / "ledger.db")
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.create_task(
        serve(
            folder / "d.sock",
            ledger,
            lambda approver: ScriptedAgent(plain, approver or NOBODY),
            folder=folder,
            config=Config(daemon=daemon),
            ready=ready.set_result,
            until=stop,
        )
    )
    both: set[asyncio.Future[Any]] = {running, ready}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    try:
        if running.done():
            running.result()
        yield await ready
    finally:
        stop.set()
        await running
        ledger.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIDECAMP_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("169.254.1.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_everything_else(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


async def test_one_daemon_answers_on_its_socket_and_on_tcp(tmp_path: Path) -> None:
    async with serving(tmp_path, settings()) as where:
        assert where.address is not None
        own = {"Authorization": f"Bearer {TokenStore(tmp_path).own()}"}
        uds = httpx.AsyncHTTPTransport(uds=str(tmp_path / "d.sock"))
        async with (
            httpx.AsyncClient(base_url=where.address, trust_env=False) as tcp,
            httpx.AsyncClient(base_url="http://aidecamp", transport=uds) as unix,
        ):
            for http in (tcp, unix):
                assert (await http.get("/v1/health")).status_code == 401
                health = (await http.get("/v1/health", headers=own)).json()
                assert health["addresses"] == [str(tmp_path / "d.sock"), where.address]
        file = place.address_path(tmp_path / "d.sock")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert place.address(tmp_path / "d.sock") == where.address
    assert place.address(tmp_path / "d.sock") is None


async def test_without_tcp_there_is_the_socket_alone(tmp_path: Path) -> None:
    async with serving(tmp_path, settings(tcp=False)) as where:
        assert where.address is None
        assert not place.address_path(tmp_path / "d.sock").exists()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_loopback_is_listened_on_and_written_in_brackets(tmp_path: Path) -> None:
    async with serving(tmp_path, settings(host="::1")) as where:
        assert where.address is not None and where.address.startswith("http://[::1]:")
        async with httpx.AsyncClient(base_url=where.address, trust_env=False) as http:
            assert (await http.get("/v1/health")).status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no.such.host.invalid"])
def test_beyond_loopback_is_refused_without_tls(tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match=r"daemon\.host") as refused:
        opened(tmp_path / "d.sock", settings(host=host))
    assert "tls_cert" in refused.value.hint
    assert not (tmp_path / "d.sock").exists()


def test_a_name_that_only_looks_like_loopback_is_refused_by_what_it_resolves_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hijacked(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("0.0.0.0", 0))]

    monkeypatch.setattr("socket.getaddrinfo", hijacked)
    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        opened(tmp_path / "d.sock", settings(host="localhost"))


async def test_with_a_certificate_tcp_is_tls_and_the_socket_stays_plain(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    async with serving(tmp_path, settings(host="0.0.0.0", tls_cert=chain, tls_key=key)) as where:
        assert where.address is not None and where.address.startswith("https://0.0.0.0:")
        url = f"https://localhost:{where.tcp[0].getsockname()[1]}"
        trusted = ssl.create_default_context(cafile=chain)
        async with httpx.AsyncClient(base_url=url, verify=trusted, trust_env=False) as http:
            assert (await http.get("/v1/health")).status_code == 401
        plainly = url.replace("https", "http")
        async with httpx.AsyncClient(base_url=plainly, trust_env=False) as http:
            with pytest.raises(httpx.TransportError):
                await http.get("/v1/health")
        uds = httpx.AsyncHTTPTransport(uds=str(tmp_path / "d.sock"))
        async with httpx.AsyncClient(base_url="http://aidecamp", transport=uds) as unix:
            assert (await unix.get("/v1/health")).status_code == 401


def test_a_renewed_certificate_is_used_and_one_that_does_not_fit_is_not(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "one")
    second, second_key = certificate(tmp_path, "two")
    used = Certificate(chain, key)
    first = shown(used.context)
    chain.write_bytes(second.read_bytes())
    with pytest.raises(UsageError, match="no certificate and its key"):
        used.renew()
    assert shown(used.context) == first
    key.write_bytes(second_key.read_bytes())
    used.renew()
    assert shown(used.context) not in (first, b"")


def shown(context: ssl.SSLContext) -> bytes:
    """The certificate that a server with ``context`` shows, in DER."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
def test_half_of_a_certificate_is_refused(tmp_path: Path, missing: str) -> None:
    chain, key = certificate(tmp_path)
    given = {"tls_cert": chain, "tls_key": key}
    del given[missing]
    with pytest.raises(UsageError, match=rf"{missing} is not"):
        opened(tmp_path / "d.sock", settings(**given))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(UsageError, match="asks for a password"):
        Certificate(chain, key)


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    _, key = certificate(tmp_path)
    with pytest.raises(UsageError, match=r"gone\.pem"):
        Certificate(tmp_path / "gone.pem", key)


def test_a_taken_port_names_the_setting_and_leaves_the_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    inode = path.stat().st_ino
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenRefused, match=r"daemon\.port") as refused:
            opened(path, settings(port=port))
        assert str(port) in refused.value.message
    assert path.stat().st_ino == inode
    left.close()


def test_an_address_that_is_not_this_machines_names_the_setting(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    far = settings(host="192.0.2.1", tls_cert=chain, tls_key=key)
    with pytest.raises(ListenRefused, match=r"daemon\.host"):
        opened(tmp_path / "d.sock", far)


def test_a_file_where_the_socket_should_be_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    path.write_text("a letter")
    with pytest.raises(StorageFailed, match="is no socket"):
        opened(path, settings())
    assert path.read_text() == "a letter"


def test_a_socket_that_someone_listens_on_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(DaemonRunning, match="listens"):
            opened(path, settings())
        assert path.exists()


def test_a_socket_handed_over_is_used_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    handed = [socket.socket(socket.AF_UNIX), socket.create_server(("127.0.0.1", 0))]
    handed[0].bind(str(path))
    handed[0].listen()
    port = handed[1].getsockname()[1]
    with listen(path, settings(port=1), handed) as where:
        assert where.unix is handed[0]
        assert where.address == f"http://127.0.0.1:{port}"
    assert path.exists()


def test_a_tcp_socket_handed_over_beyond_loopback_needs_tls_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other machines"):
        opened(tmp_path / "d.sock", settings(), [socket.create_server(("0.0.0.0", 0))])


@pytest.mark.parametrize("case", ["others may write", "of another user", "too long"])
def test_a_place_that_is_not_safe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    monkeypatch.setenv("AIDECAMP_SOCKET", str(folder / "d.sock"))
    if case == "others may write":
        folder.chmod(0o777)
        with pytest.raises(StorageFailed, match="Anyone may write"):
            place.prepare(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777
    elif case == "of another user":
        monkeypatch.setattr("os.getuid", lambda: folder.stat().st_uid + 1)
        with pytest.raises(StorageFailed, match="another user"):
            place.prepare(folder)
    else:
        monkeypatch.setenv("AIDECAMP_SOCKET", str(folder / ("x" * 200)))
        with pytest.raises(UsageError, match="AIDECAMP_SOCKET has"):
            place.socket_path()


def test_a_folder_that_the_user_named_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("AIDECAMP_SOCKET", str(tmp_path / "d.sock"))
    place.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755

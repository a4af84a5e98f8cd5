"""Real IMAP servers on loopback for tests: Dovecot with a configuration of its own, and pymap in this process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bounceparse.mailboxes.imap import ImapAccount

USER, PASSWORD = "bounces@example.com", "correct horse"
TEST_ALL = os.environ.get("BOUNCEPARSE_TEST_ALL") == "1"


def skip(reason: str) -> None:
    """Skip, or fail where every test must run."""
    if TEST_ALL:
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def account(**changes: Any) -> ImapAccount:
    """An account of the test servers, plain unless told otherwise."""
    settings: dict[str, Any] = {
        "name": "bounces",
        "host": "127.0.0.1",
        "tls": "none",
        "username": USER,
        "password": lambda: PASSWORD,
    }
    return ImapAccount(**settings | changes)


DOVECOT_CONFIG = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
instance_name = test
listen = 127.0.0.1
protocols = imap
ssl = yes
ssl_cert = <{root}/server.pem
ssl_key = <{root}/server.key
disable_plaintext_auth = no
auth_mechanisms = plain login {mechanisms}
auth_failure_delay = 0
mail_location = maildir:{root}/%u
mail_max_userip_connections = 5
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 0
first_valid_gid = 0
imap_capability = {capability}
{quota}
passdb {{
  driver = passwd-file
  args = {root}/users
  mechanisms = plain login
}}
passdb {{
  driver = oauth2
  args = {root}/oauth2.conf
  mechanisms = xoauth2 oauthbearer
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/%u allow_all_users=yes
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {tls}
    ssl = yes
  }}
}}
service stats {{
  client_limit = 100
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""

QUOTA_CONFIG = """
mail_plugins = quota
protocol imap {{
  mail_plugins = quota imap_quota
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage={quota}
}}
"""

OAUTH2_CONFIG = """
introspection_url = http://127.0.0.1:{port}/
introspection_mode = post
username_attribute = username
active_attribute = active
active_value = true
timeout_msecs = 10000
"""


@dataclass
class Dovecot:
    """A running Dovecot with one user, whose Maildir is written directly."""

    root: Path
    plain: int
    tls: int
    ca_file: Path
    process: subprocess.Popen[bytes] | None = None
    _count: int = field(default=0)

    def account(self, **changes: Any) -> ImapAccount:
        """An account over the plain port."""
        return account(**{"port": self.plain} | changes)

    def maildir(self, folder: str = "INBOX") -> Path:
        """The Maildir of a folder."""
        box = self.root / USER
        return box if folder == "INBOX" else box / f".{folder}"

    def load(self, mails: Iterable[bytes], folder: str = "INBOX") -> None:
        """Put unseen mails into a folder."""
        box = self.maildir(folder)
        for name in ("cur", "new", "tmp"):
            (box / name).mkdir(parents=True, exist_ok=True)
        for mail in mails:
            self._count += 1
            size = len(mail)
            virtual = size + mail.count(b"\n") - mail.count(b"\r\n")
            (box / "new" / f"{1_700_000_000 + self._count}.M{self._count}.test,S={size},W={virtual}").write_bytes(mail)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "nobody", str(self.root / USER)], check=True)

    def names(self, folder: str = "INBOX") -> list[str]:
        """The files of a folder's messages, with their Maildir flags."""
        box = self.maildir(folder)
        return sorted(path.name for sub in ("cur", "new") for path in (box / sub).glob("*"))

    def flags(self, folder: str = "INBOX") -> list[str]:
        """The Maildir flags of each message."""
        return [name.partition(":2,")[2] for name in self.names(folder)]

    @contextlib.contextmanager
    def client(self, folder: str = "INBOX") -> Iterator[Any]:
        """A second client with the folder selected."""
        from imapclient import IMAPClient

        with IMAPClient("127.0.0.1", self.plain, ssl=False, timeout=30) as client:
            client.login(USER, PASSWORD)
            client.select_folder(folder)
            yield client

    def stop(self) -> None:
        """End the server with all its connections, and wait for it."""
        if self.process:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            self.process.terminate()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            self.process.wait(20)
            self.process = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        binary = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        assert binary
        self.process = subprocess.Popen([binary, "-F", "-c", str(self.root / "dovecot.conf")], stderr=subprocess.PIPE)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.plain), 1) as greeted:
                if greeted.recv(4) == b"* OK":
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        log = self.root / "log"
        pytest.fail(f"Dovecot does not start: {log.read_text() if log.exists() else ''}")


@contextlib.contextmanager
def running_dovecot(
    *, capability: str = "", introspection: int = 9, mechanisms: str = "xoauth2", quota: str = "", extra: str = ""
) -> Iterator[Dovecot]:
    """A Dovecot 2.3 in a temporary folder with a short name (it makes sockets there), as root or not.

    ``capability`` replaces what it announces after login, ``introspection`` is the port of an OAuth2 server, which
    judges the tokens of ``mechanisms``, ``quota`` the storage that a user may fill (``100K``), ``extra`` further lines of
    the configuration.
    """
    if not shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        skip("Dovecot is not installed: apt-get install dovecot-imapd")
    version = subprocess.run(["/usr/sbin/dovecot", "--version"], capture_output=True, text=True, check=False).stdout
    if not version.startswith("2.3"):
        skip(f"these tests configure Dovecot 2.3, not {version.strip()}")
    root = Path(tempfile.mkdtemp(prefix="dovecot-"))
    root.chmod(0o755)
    plain, tls = free_ports(2)
    ca_file = make_certificate(root)
    import grp
    import pwd

    mail = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    own = pwd.getpwuid(os.geteuid())
    config = DOVECOT_CONFIG.format(
        root=root,
        user="dovenull" if os.geteuid() == 0 else own.pw_name,
        group="dovenull" if os.geteuid() == 0 else grp.getgrgid(own.pw_gid).gr_name,
        capability=capability,
        mechanisms=mechanisms,
        quota=QUOTA_CONFIG.format(quota=quota) if quota else "",
        uid=mail.pw_uid,
        gid=mail.pw_gid,
        plain=plain,
        tls=tls,
    )
    (root / "dovecot.conf").write_text(config + extra)
    (root / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    (root / "oauth2.conf").write_text(OAUTH2_CONFIG.format(port=introspection))
    server = Dovecot(root, plain, tls, ca_file)
    server.load([])
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)


def make_certificate(root: Path) -> Path:
    """A self-signed certificate for ``localhost`` in ``server.pem`` and ``server.key``; the same for all servers."""
    for name, content in _certificate().items():
        (root / name).write_bytes(content)
    return root / "server.pem"


@functools.cache
def _certificate() -> dict[str, bytes]:
    root = Path(tempfile.mkdtemp(prefix="certificate-"))
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out", "server.pem"],
        cwd=root, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        skip("openssl is not installed: apt-get install openssl")
    files = {name: (root / name).read_bytes() for name in ("server.pem", "server.key")}
    shutil.rmtree(root)
    return files


@dataclass
class Pymap:
    """A running pymap with one user."""

    port: int

    def account(self, **changes: Any) -> ImapAccount:
        """An account over its plain port."""
        return account(**{"port": self.port} | changes)

    def load(self, mails: Sequence[bytes]) -> None:
        """Put unseen mails into INBOX."""
        with self.client() as client:
            for mail in mails:
                client.append("INBOX", mail)

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """A second client with INBOX selected."""
        from imapclient import IMAPClient

        with IMAPClient("127.0.0.1", self.port, ssl=False, timeout=30) as client:
            client.login(USER, PASSWORD)
            client.select_folder("INBOX")
            yield client


@contextlib.contextmanager
def running_pymap() -> Iterator[Pymap]:
    """A pymap in a thread of this process."""
    pytest.importorskip("pymap")
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    done = asyncio.Event()

    async def serve() -> None:
        from pymap.backend.dict import DictBackend
        from pymap.imap import IMAPService

        args = Namespace(
            host=["127.0.0.1"], port=str(port), cert=None, key=None, tls=False, proxy_protocol=None, debug=False,
            inherited_sockets=None, demo_data=False, demo_user=USER, demo_password=PASSWORD, passlib_cfg=None,
            skip_services=[],
        )  # fmt: skip
        backend, config = await DictBackend.init(args)
        config.apply_context()
        async with contextlib.AsyncExitStack() as stack:
            await backend.start(stack)
            await IMAPService(backend, config).start(stack)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(30), "pymap does not start"
    try:
        yield Pymap(port)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        loop.close()


Reply = Callable[[str, str, socket.socket], str | bytes | None]
"""(tag, command, connection) -> what to say; None for what a healthy server would."""


class Scripted:
    """An IMAP server of one folder with messages 1 to 3, which answers as ``reply`` wants."""

    def __init__(self, reply: Reply, body: bytes = b"Subject: x\r\n\r\nx\r\n") -> None:
        self.reply, self.body = reply, body
        self.commands: list[str] = []
        self.greeting = "* OK ready\r\n"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._serve, daemon=True)
        self._accepting.start()

    def account(self, **changes: Any) -> ImapAccount:
        """An account of this server."""
        return account(**{"port": self.port} | changes)

    def close(self) -> None:
        """Listen no more. A thread left in ``accept`` would take the connections of whoever gets the same descriptor."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.sendall(self.greeting.encode())
            for line in lines:
                tag, _, command = line.decode("latin-1").rstrip("\r\n").partition(" ")
                self.commands.append(command)
                answer = self.reply(tag, command, connection)
                if answer is None:
                    answer = self.healthy(tag, command)
                connection.sendall(answer.encode("latin-1") if isinstance(answer, str) else answer)

    def healthy(self, tag: str, command: str) -> bytes:
        """What a server says that has nothing to complain of."""
        done = f"{tag} OK done\r\n".encode()
        if command.startswith("CAPABILITY"):
            return b"* CAPABILITY IMAP4rev1 UIDPLUS MOVE\r\n" + done
        if command.startswith(("SELECT", "EXAMINE")):
            flags = rb"\Seen \Deleted \*"
            return (
                b"* 3 EXISTS\r\n* OK [UIDVALIDITY 4294967295] v\r\n* OK [PERMANENTFLAGS (" + flags + b")] p\r\n"
                + f"{tag} OK [READ-WRITE] done\r\n".encode()
            )  # fmt: skip
        if command.startswith("UID SEARCH"):
            return b"* SEARCH 1 2 3\r\n" + done
        if "RFC822.SIZE" in command:
            return b"".join(self.size(uid) for uid in (1, 2, 3)) + done
        if "BODY.PEEK" in command:
            return b"".join(self.message(uid) for uid in (1, 2, 3)) + done
        return done

    def size(self, uid: int) -> bytes:
        """The FETCH answer that tells the size of a message."""
        return b"* %d FETCH (UID %d RFC822.SIZE %d)\r\n" % (uid, uid, len(self.body))

    def message(self, uid: int) -> bytes:
        """The FETCH answer that holds a message."""
        return b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, uid, len(self.body), self.body)


@contextlib.contextmanager
def scripted(reply: Reply = lambda *_: None, **settings: Any) -> Iterator[Scripted]:
    """A scripted server."""
    server = Scripted(reply, **settings)
    try:
        yield server
    finally:
        server.close()

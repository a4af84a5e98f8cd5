"""The tutorial on Postfix, tried out: a real Postfix in folders of its own, on loopback, with the tutorial's lines."""

from __future__ import annotations

import grp
import os
import pwd
import re
import runpy
import shlex
import shutil
import smtplib
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import Envelope, Session
from click.testing import CliRunner
from databases import migrated_database, migrated_sqlite
from documents import ROOT, Block, blocks_of
from servers import free_ports, skip

from bounceparse.cli import main
from bounceparse.config import build_request_settings, load_settings
from bounceparse.db import Store

PAGE = blocks_of(ROOT / "docs/tutorials/postfix.md")
USER = "nobody"
BASE = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
myhostname = mail.example.com
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
smtp_tls_security_level = none
relayhost = [127.0.0.1]:{relay}
"""
SERVICES = """
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
"""


def block(*, title: str = "", starts: str = "", has: str = "") -> Block:
    """The one block of the tutorial with this title, beginning or words."""
    found = [one for one in PAGE if (one.title or "") == title and one.text.startswith(starts) and has in one.text]
    assert len(found) == 1, (title, starts, has)
    return found[0]


class Refusing:
    """A mail server at which nobody has a mailbox."""

    async def handle_RCPT(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        return "550 5.1.1 No such user here"


@contextmanager
def running_postfix(
    root: Path, port: int, relay: int, main_cf: str, master_cf: str, prefix: Sequence[str] = ()
) -> Iterator[None]:
    """A Postfix of its own configuration, queue and log, started by the command ``prefix``."""
    conf = root / "conf"
    for folder in (conf, root / "queue", root / "data"):
        folder.mkdir()
    shutil.chown(root / "data", "postfix")
    (conf / "main.cf").write_text(BASE.format(root=root, relay=relay) + main_cf, "utf-8")
    (conf / "master.cf").write_text(SERVICES.format(port=port) + master_cf, "utf-8")
    subprocess.run([*prefix, "postfix", "-c", str(conf), "start"], check=True)
    try:
        yield
    finally:
        subprocess.run(["postfix", "-c", str(conf), "stop"], capture_output=True, check=True)


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder whose name is short enough for sockets, open to the user that Postfix runs commands as."""
    if os.geteuid() != 0 or shutil.which("postfix") is None:
        skip("Postfix runs as root only: apt-get install postfix")
    path = Path(tempfile.mkdtemp(prefix="postfix-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def written_config(root: Path, url: str) -> Path:
    """The tutorial's configuration with its files in ``root``, owned by who runs ``ingest``."""
    text = block(starts="# /etc/bounceparse/bounceparse.toml").text.replace("/var/lib/bounceparse/", f"{root}/state/")
    text = re.sub(r'^url = ".*"$', f'url = "{url}"', text, flags=re.MULTILINE)
    (root / "bounceparse.toml").write_text(text, "utf-8")
    return root / "bounceparse.toml"


def own(path: Path) -> None:
    """Give a folder to the user that Postfix runs commands as."""
    for one in (path, *path.rglob("*")):
        os.chown(one, pwd.getpwnam(USER).pw_uid, grp.getgrnam("nogroup").gr_gid)


def send(config: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tutorial's program."""
    monkeypatch.setenv("BOUNCEPARSE_CONFIG", str(config))
    (config.parent / "send.py").write_text(block(title="send.py").text, "utf-8")
    program = runpy.run_path(str(config.parent / "send.py"))
    settings = load_settings(config)
    with (
        Store(settings.database.url, request_settings=build_request_settings(settings)) as store,
        smtplib.SMTP("127.0.0.1", port) as smtp,
    ):
        program["send"](
            smtp, store, "jan@example.net", "Your order", "It is on its way.\n", stream="orders", customer="4711"
        )
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="User unknown"):
            smtp.sendmail("x@example.net", ["other@bounces.example.com"], "Subject: spam\n\n")


def check(config: Path, root: Path) -> None:
    """The bounce has come back, and its return path proves it."""
    with Store(load_settings(config).database.url) as store:
        deadline = time.monotonic() + 60
        while not (found := list(store.outcomes())) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [(row.outcome.status, row.outcome.reason, str(row.trust), row.customer) for row in found] == [
            ("hardbounce", "user-unknown", "verified", "4711")
        ], (root / "log").read_text("utf-8")
        assert not store.standing("jan@example.net").mailable


def readable_command(root: Path) -> tuple[list[str], str]:
    """How to start Postfix, and a command that is ours, where the user that Postfix runs it as may not read the checkout.

    Within the mounts of that Postfix alone the interpreter and the checkout stand in ``root`` too.
    """
    python = Path(sys.executable).resolve().relative_to(sys.base_prefix)
    sources = {"python": sys.base_prefix, "checkout": ROOT, "libraries": sysconfig.get_path("purelib")}
    places = {root / name: source for name, source in sources.items()}
    for place in places:
        place.mkdir()
    mounts = " && ".join(f"mount --bind {source} {place}" for place, source in places.items())
    paths = f"PYTHONPATH={root}/checkout:{root}/libraries LD_LIBRARY_PATH={root}/python/lib"
    command = f"/usr/bin/env {paths} {root}/python/{python} -m bounceparse"
    return ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"], command


def test_a_bounce_handed_over_by_pipe_is_verified(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: signed, sent, refused by a server, returned by Postfix, recorded by `ingest` as another user."""
    port, relay = free_ports(2)
    (root / "state").mkdir()
    config = written_config(root, migrated_sqlite(root / "state/b.db"))
    prepare(config)
    own(root / "state")
    prefix, command = readable_command(root)
    master = block(starts="# /etc/postfix/master.cf").text.replace("/etc/bounceparse/bounceparse.toml", str(config))
    assert "argv=/usr/local/bin/bounceparse\n" in master and "user=bounceparse " in master
    master = master.replace("/usr/local/bin/bounceparse", command).replace("user=bounceparse ", f"user={USER} ")
    main_cf = block(starts="# /etc/postfix/main.cf", has="relay_domains").text
    with serving_refusals(relay), running_postfix(root, port, relay, main_cf, master, prefix):
        send(config, port, monkeypatch)
        own(root / "state")
        check(config, root)
        told = CliRunner().invoke(
            main, ["--config", str(config), "sent", "import", "--from", "postfix-log", str(root / "log")]
        )
        assert told.exit_code == 0 and "1 known" in told.output, told.output


def test_a_bounce_handed_over_by_lmtp_is_verified(root: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same by the other way that the tutorial shows, into PostgreSQL."""
    port, relay, lmtp = free_ports(3)
    config = written_config(root, migrated_database(postgresql))
    (root / "state").mkdir()
    prepare(config)
    line = next(text for one in PAGE if one.language == "sh" for text in one.text.splitlines() if "--lmtp" in text)
    words = shlex.split(line.replace("127.0.0.1:8024", f"127.0.0.1:{lmtp}"))[1:]
    main_cf = block(starts="# /etc/postfix/main.cf", has="relay_domains").text
    main_cf += block(starts="# /etc/postfix/main.cf", has="lmtp:inet").text.replace(":8024", f":{lmtp}")
    main_cf = main_cf.replace("transport_maps = inline:{ bounces.example.com=bounceparse: }\n", "")
    taking = subprocess.Popen(
        [sys.executable, "-m", "bounceparse", "--config", str(config), *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert taking.stdout is not None and "listening" in taking.stdout.readline()
        with serving_refusals(relay), running_postfix(root, port, relay, main_cf, ""):
            send(config, port, monkeypatch)
            check(config, root)
    finally:
        taking.terminate()
        taking.wait(20)


def prepare(config: Path) -> None:
    """What the tutorial runs before anything is sent."""
    for words in (("keys", "new"), ("db", "upgrade"), ("doctor",)):
        done = CliRunner().invoke(main, ["--config", str(config), *words])
        assert done.exit_code == 0, done.output


@contextmanager
def serving_refusals(port: int) -> Iterator[None]:
    controller = Controller(Refusing(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield
    finally:
        controller.stop()

"""How fast a poll is beside the bare fetching and flagging of the same mails.

    python benchmarks/poll.py [--mails N] [--ledger N] [--rounds N] [--delay MS]

A Dovecot holds bounces of 6.6 KB. The yardstick is an IMAPClient with its debug output off that fetches them in batches
of 200, sets ``\\Seen`` in batches of 200, and does nothing else; another drain leaves the flags out. ``bounceparse
poll`` reads, matches against a ledger, records in SQLite or PostgreSQL, and sets ``\\Seen``. Every figure is of a whole
process; every poll has a fresh copy of the database. ``--delay`` puts a proxy in between that holds back every byte for
half of so many milliseconds, in both directions.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from common import Cost, Table, fill_ledger, postgresql, run

SIZE = 6600
GOALS = {("sqlite", False): 0.5, ("postgresql", False): 0.4, ("sqlite", True): 0.8, ("postgresql", True): 0.8}
DRAIN = """
import sys
from imapclient import IMAPClient
port, user, password, store = sys.argv[1:]
with IMAPClient("127.0.0.1", int(port), ssl=False) as client:
    client._imap.debug = 0
    client.login(user, password)
    client.select_folder("INBOX")
    uids = client.search("ALL")
    batches = [uids[at : at + 200] for at in range(0, len(uids), 200)]
    for batch in batches:
        assert len(client.fetch(batch, ["BODY.PEEK[]"])) == len(batch)
    if store == "1":
        for batch in batches:
            client.add_flags(batch, [r"\\Seen"], silent=True)
"""


@contextmanager
def delaying_proxy(port: int, seconds: float) -> Iterator[int]:
    """A port that leads to ``port`` with so long a way in each direction, and no limit on what is under way."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        queue: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

        def deliver() -> None:
            while True:
                due, data = queue.get()
                time.sleep(max(0, due - time.monotonic()))
                try:
                    target.sendall(data) if data else target.shutdown(socket.SHUT_WR)
                except OSError:
                    return
                if not data:
                    return

        threading.Thread(target=deliver, daemon=True).start()
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            queue.put((time.monotonic() + seconds, data))
            if not data:
                return

    def accept() -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", port))
            for one in (here, there):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for ends in ((here, there), (there, here)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Scene:
    """A mailbox full of bounces, and databases whose ledger knows what they are about."""

    def __init__(self, folder: Path, dovecot: object, port: int, server: str | None, ledger: int) -> None:
        from databases import migrated_database, migrated_sqlite

        self.folder, self.dovecot, self.port, self.server = folder, dovecot, port, server
        self.templates = {"sqlite": migrated_sqlite(folder / "template.db")}
        if server:
            self.templates["postgresql"] = migrated_database(server)
        for url in self.templates.values():
            fill_ledger(url, ledger)

    def reset(self) -> None:
        """No message is flagged."""
        with self.dovecot.client() as client:
            uids = client.search("ALL")
            for at in range(0, len(uids), 5000):
                client.remove_flags(uids[at : at + 5000], [r"\Seen"], silent=True)

    def drain(self, *, store: bool) -> Cost:
        from servers import PASSWORD, USER

        self.reset()
        return run([sys.executable, "-c", DRAIN, str(self.port), USER, PASSWORD, "1" if store else "0"])

    def poll(self, kind: str, *, memory: bool = False) -> Cost:
        from databases import drop_database, new_database
        from servers import PASSWORD, USER
        from sqlalchemy import make_url

        self.reset()
        path = self.folder / "b.db"
        if kind == "sqlite":
            shutil.copy(self.folder / "template.db", path)
            url = f"sqlite:///{path}"
        else:
            url = new_database(self.server, make_url(self.templates[kind]).database)
        config = self.folder / "bounceparse.toml"
        config.write_text(
            f'[database]\nurl = "{url}"\n[mailbox.bounces]\nhost = "127.0.0.1"\nport = {self.port}\ntls = "none"\n'
            f'username = "{USER}"\npassword = "{PASSWORD}"\nfirst_poll = "go"\n'
        )
        config.chmod(0o600)
        try:
            command = [sys.executable, "-m", "bounceparse", "--config", str(config), "poll"]
            return run(command, memory=memory)
        finally:
            for file in self.folder.glob("b.db*"):
                file.unlink()
            if kind != "sqlite":
                drop_database(self.server, url)


@contextmanager
def scene(mails: int, ledger: int, delay: float, *, with_postgresql: bool = True, large: int = 0) -> Iterator[Scene]:
    """Everything that is measured, made anew; ``large`` adds one mail of so many bytes."""
    from contextlib import ExitStack, nullcontext

    from bounces import dsn
    from servers import running_dovecot

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dovecot = stack.enter_context(running_dovecot())
        dovecot.load(dsn(number, SIZE - 900) for number in range(1, mails + 1))
        if large:
            dovecot.load([dsn(0, large)])
        proxied = delaying_proxy(dovecot.plain, delay / 2000) if delay else nullcontext(dovecot.plain)
        port = stack.enter_context(proxied)
        server = stack.enter_context(postgresql()) if with_postgresql else None
        yield Scene(folder, dovecot, port, server, ledger)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--ledger", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0, help="milliseconds of round trip")
    parser.add_argument("--large", type=int, default=0, help="bytes of one more mail")
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    kinds = [given.only] if given.only else ["sqlite", "postgresql"]
    costs: dict[str, list[Cost]] = {}
    with scene(given.mails, given.ledger, given.delay, with_postgresql="postgresql" in kinds, large=given.large) as on:
        on.drain(store=True)
        for _ in range(given.rounds):
            costs.setdefault("drain", []).append(on.drain(store=False))
            costs.setdefault("drain and STORE", []).append(on.drain(store=True))
            for kind in kinds:
                costs.setdefault(f"poll, {kind}", []).append(on.poll(kind))
        peaks = {kind: on.poll(kind, memory=True) for kind in kinds}
    delay = f", {given.delay:g} ms of round trip" if given.delay else ""
    print(f"poll of {given.mails} mails of {SIZE} bytes, ledger of {given.ledger}{delay}")
    table = Table("mails a second", given.mails)
    medians = {name: table.line(name, [cost.wall for cost in found]) for name, found in costs.items()}
    table = Table("CPU seconds, children's too")
    for name, found in costs.items():
        table.line(name, [cost.cpu for cost in found])
    for kind in kinds:
        ours, goal = medians[f"poll, {kind}"], GOALS[kind, bool(given.delay)]
        print(
            f"poll, {kind}: {ours / medians['drain and STORE']:.2f} of the drain with STORE (goal {goal}),"
            f" {ours / medians['drain']:.2f} of the plain one; memory at its peak: main process"
            f" {peaks[kind].main:.0f} MB (goal 150), all {peaks[kind].all:.0f} MB (goal 256)"
        )


if __name__ == "__main__":
    main()

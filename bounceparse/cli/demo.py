"""``bounceparse demo``: the main job on sample mail, with nothing set up: server, ledger, two polls, a card."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bounceparse.cli.output import print_table
from bounceparse.cli.serve import paneled_app, require_web, run_app
from bounceparse.errors import MailboxError

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.ingest import PollResult
    from bounceparse.mailboxes.account import ImapAccount

FOLDER = Path("bounceparse-demo")
_OURS = ("bounceparse.toml", "bounceparse.db", "bounceparse.db-wal", "bounceparse.db-shm", "sent.jsonl")


@click.command(epilog="Example: bounceparse demo, or to see the panel: bounceparse demo --serve")
@click.option("--serve", "with_panel", is_flag=True, help="Then serve the panel over it until interrupted.")
def demo(with_panel: bool) -> None:
    """Poll two mailboxes of sample mail into ./bounceparse-demo/ and show what came of it.

    Needs no mail server and no configuration. Running it again replaces what it wrote before.
    """
    if with_panel:
        require_web()
    from bounceparse.cli.demo_server import serve
    from bounceparse.db import Store, upgrade

    samples = _samples()
    plan = json.loads(samples.joinpath("demo.json").read_text("utf-8"))
    mails = {name: _mails(samples, box["mails"]) for name, box in plan["mailboxes"].items()}
    with serve({_user(name): messages for name, messages in mails.items()}) as port:
        url = _prepare(plan, port)
        upgrade(url)
        with Store(url) as store:
            _record_ledger(store, plan["sent"])
            accounts = [_account(name, box["role"], port) for name, box in plan["mailboxes"].items()]
            for account in accounts:
                result = _poll(account, store)
                click.echo(f"{account.name}: {result.fetched} mails read, {result.new_outcomes} outcomes recorded")
            _show(store, plan["customer"])
            again = [_poll(account, store) for account in accounts]
    click.echo(f"\nsecond poll: {sum(result.messages + result.new_outcomes for result in again)} new\n")
    _suggest(plan["customer"], plan["sent"][0]["recipient"])
    if with_panel:
        _serve_panel(url)


def _samples() -> Traversable:
    """The folder of the demo's mails: inside the installed package, else beside it in the repository."""
    package = files("bounceparse")
    installed = package.joinpath("_corpus")
    if installed.is_dir():
        return installed
    beside = Path(str(package)).parent / "corpus"
    if not beside.joinpath("demo.json").is_file():
        raise MailboxError("the demo's mails are not installed: pip install --force-reinstall 'bounceparse[demo]'")
    return beside


def _mails(samples: Traversable, names: Sequence[str]) -> list[bytes]:
    return [samples.joinpath("demo", name).read_bytes() for name in names]


def _user(name: str) -> str:
    return f"{name}@garden.example"


def _prepare(plan: Mapping[str, Any], port: int) -> str:
    """Empty the folder of what an earlier demo wrote, write configuration and ledger; the database's URL."""
    FOLDER.mkdir(exist_ok=True)
    for name in _OURS:
        with suppress(FileNotFoundError):
            (FOLDER / name).unlink()
    boxes = [
        f'\n[mailbox.{name}]\nrole = "{box["role"]}"\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
        f'username = "{_user(name)}"\npassword = "demo"\n'
        for name, box in plan["mailboxes"].items()
    ]
    heading = "# Written by `bounceparse demo`, whose mail server ran for the time of the demo only.\n"
    text = f'{heading}\n[database]\nurl = "sqlite:///bounceparse.db"\n{"".join(boxes)}'
    config = FOLDER / "bounceparse.toml"
    config.touch(mode=0o600)
    config.write_text(text, "utf-8")
    rows = (json.dumps(row, ensure_ascii=False) for row in plan["sent"])
    (FOLDER / "sent.jsonl").write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return f"sqlite:///{FOLDER / 'bounceparse.db'}"


def _record_ledger(store: Store, rows: Sequence[Mapping[str, Any]]) -> None:
    from bounceparse.db import parse_sent

    new, _ = store.import_sent(parse_sent(row) for row in rows)
    click.echo(f"ledger: {new} sent messages")


def _account(name: str, role: Any, port: int) -> ImapAccount:
    """The account as the configuration file names it; built here so that the environment cannot turn the demo
    towards a real database."""
    from bounceparse.cli.demo_server import PASSWORD
    from bounceparse.mailboxes.account import ImapAccount

    return ImapAccount(
        name=name,
        role=role,
        host="127.0.0.1",
        port=port,
        tls="none",
        username=_user(name),
        password=lambda: PASSWORD,
        first_poll="go",
    )


def _poll(account: ImapAccount, store: Store) -> PollResult:
    from bounceparse.ingest import poll_mailbox
    from bounceparse.mailboxes.imap import open_mailbox

    with open_mailbox(account) as mailbox:
        return poll_mailbox(mailbox, store)


def _show(store: Store, customer: str) -> None:
    from bounceparse.cli.cards import print_card

    counted = Counter((row.outcome.status.value, row.outcome.reason) for row in store.outcomes())
    click.echo()
    print_table(
        ("status", "reason", "outcomes"), [(*pair, count) for pair, count in sorted(counted.items())], numbers=1
    )
    click.echo()
    card = store.customer(customer)
    print_card(card, {row.address: store.history(row.address) for row in card.addresses})


def _serve_panel(url: str) -> None:
    from bounceparse.db import Store
    from bounceparse.web.app import WebSettings

    password = secrets.token_urlsafe(12)
    with Store(url) as store:
        store.make_user("demo", password, role="write", by="demo")
        click.echo(f"\nThe panel, until Ctrl-C: sign in as demo, password {password}")
        with paneled_app(store, WebSettings()) as app:
            run_app(app, "127.0.0.1", 0)


def _suggest(customer: str, address: str) -> None:
    click.echo("Now try:")
    for command in (f"address {address} --lang pl", f"customer {customer} --json", "stats --by stream"):
        click.echo(f"  bounceparse --config {FOLDER}/bounceparse.toml {command}")

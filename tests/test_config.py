"""The configuration: what is read from where, and that every fault names file, key and remedy."""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from bounceparse.config import Settings, exposed_secrets, find_config, load_settings
from bounceparse.errors import ConfigError
from bounceparse.sections import is_loopback

MAILBOX = """
[mailbox.shop-bounces]
host = "imap.example.com"
username = "bounces@example.com"
password_command = "pass show bounces"
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the machine's own configuration."""
    for name in list(os.environ):
        if name.startswith("BOUNCEPARSE_") and name != "BOUNCEPARSE_TEST_ALL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def load(text: str, folder: Path | None = None) -> Settings:
    path = (folder or Path.cwd()) / "bounceparse.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return load_settings(path)


def fault(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


def test_a_mailbox_has_the_documented_defaults() -> None:
    box = load(MAILBOX).mailbox["shop-bounces"]
    assert (box.role, box.tls, box.effective_port, box.folder, box.after) == ("mixed", "implicit", 993, "INBOX", "seen")


def test_starttls_defaults_to_port_143() -> None:
    assert load(MAILBOX + 'tls = "starttls"\n').mailbox["shop-bounces"].effective_port == 143


def test_the_named_file_wins_over_the_variable_over_the_search_path(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = nowhere / "home/.config/bounceparse/bounceparse.toml"
    home.parent.mkdir(parents=True)
    home.write_text("")
    assert find_config() == home
    here = Path("bounceparse.toml").absolute()
    here.write_text("")
    assert find_config() == here
    other = nowhere / "other.toml"
    other.write_text("")
    monkeypatch.setenv("BOUNCEPARSE_CONFIG", str(other))
    assert find_config() == other
    assert find_config(home) == home


def test_a_named_file_that_is_missing_is_an_error_and_not_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_CONFIG", "gone.toml")
    with pytest.raises(
        ConfigError, match=r"gone\.toml: no such file \(BOUNCEPARSE_CONFIG names it\).*bounceparse init"
    ):
        load_settings()


def test_no_configuration_at_all_names_the_places_and_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"no bounceparse\.toml in .*/etc/bounceparse: .*bounceparse init"):
        load_settings()


def test_the_environment_alone_can_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", "postgresql://mail@db.example/mail")
    assert load_settings().database.url == "postgresql+psycopg://mail@db.example/mail"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_MAILBOX__SHOP_BOUNCES__PORT", "1993")
    monkeypatch.setenv("BOUNCEPARSE_MAILBOX__SHOP_BOUNCES__RECIPIENT_HEADERS", "Delivered-To, X-Original-To")
    box = load(MAILBOX).mailbox["shop-bounces"]
    assert (box.port, box.recipient_headers) == (1993, ("Delivered-To", "X-Original-To"))


def test_a_password_of_the_environment_replaces_the_files_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_MAILBOX__SHOP_BOUNCES__PASSWORD", "123")
    box = load(MAILBOX).mailbox["shop-bounces"]
    assert (box.password, box.password_command) == ("123", None)


def test_relative_paths_are_relative_to_the_file(nowhere: Path) -> None:
    text = '[database]\nurl = "sqlite:///var/b.db"\n' + MAILBOX.replace(
        'password_command = "pass show bounces"', 'password_file = "secret"\nca_file = "/etc/ca.pem"'
    )
    settings = load(text, nowhere / "conf")
    box = settings.mailbox["shop-bounces"]
    assert settings.database.url == f"sqlite:///{nowhere}/conf/var/b.db"
    assert (box.password_file, box.ca_file) == (nowhere / "conf/secret", Path("/etc/ca.pem"))


def test_an_absolute_sqlite_path_stays(nowhere: Path) -> None:
    assert (
        load('[database]\nurl = "sqlite:////var/lib/b.db"\n', nowhere / "conf").database.url
        == "sqlite:////var/lib/b.db"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[databse]\nurl = 'x'\n", "databse: unknown key: known are alert, database, "),
        (MAILBOX + "pasword = 'x'\n", "[mailbox.shop-bounces] pasword: unknown key: known are after"),
        (
            MAILBOX + "after = 'archive'\n",
            "[mailbox.shop-bounces] after: write seen, nothing, delete, keyword:NAME or move:FOLDER",
        ),
        (MAILBOX + "port = 'imaps'\n", "[mailbox.shop-bounces] port: "),
        (MAILBOX.replace("host =", "# "), "[mailbox.shop-bounces] host: is missing: add it"),
        (MAILBOX.replace("shop-bounces", '"Shop Bounces"'), "the name 'Shop Bounces' may only have a-z, 0-9 and -"),
        (MAILBOX + "password = 'x'\n", "give exactly one of password_command, password_file, password and oauth2"),
        (MAILBOX.replace("password_command", "#"), "none is there"),
        ('[database]\nurl = "mysql://x/y"\n', "[database] url: write sqlite:///FILE or postgresql+psycopg://"),
        ("source = 'x'\n", "source: unknown key"),
        ("[mailbox\n", "not valid TOML"),
    ],
)
def test_a_fault_names_file_key_and_remedy(text: str, said: str) -> None:
    told = fault(text)
    assert told.startswith(str(Path("bounceparse.toml").absolute()))
    assert said in told


def test_every_fault_of_a_file_is_told_at_once() -> None:
    assert len(fault(MAILBOX + "port = 0\nafter = 'x'\n").splitlines()) == 2


def test_an_unknown_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_DATABASE_URL", "sqlite:///x.db")
    assert "environment: BOUNCEPARSE_DATABASE_URL: unknown key" in fault(MAILBOX)


def test_a_wrong_variable_is_named_and_not_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_MAILBOX__SHOP_BOUNCES__PORT", "imaps")
    assert fault(MAILBOX).startswith("environment: BOUNCEPARSE_MAILBOX__SHOP_BOUNCES__PORT: ")


def test_a_fault_never_shows_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_MAILBOX__SHOP_BOUNCES__PASSWORD", "hunter2")
    assert "hunter2" not in fault(MAILBOX + "port = 0\ntls = 'none'\n")


def test_variables_of_ours_that_are_no_values_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEPARSE_TEST_ALL", "1")
    monkeypatch.setenv("BOUNCEPARSE_CONFIG", "elsewhere.toml")
    assert "shop-bounces" in load(MAILBOX).mailbox


def test_plain_text_is_refused_but_towards_this_machine() -> None:
    clear = MAILBOX + 'tls = "none"\n'
    assert "would send the password in clear text" in fault(clear)
    assert load(clear.replace("imap.example.com", "127.0.0.1")).mailbox["shop-bounces"].effective_port == 143
    assert load(clear + "insecure = true\n").mailbox["shop-bounces"].insecure


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "imap.localhost"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["imap.example.com", "192.0.2.1", "localhost.example.com", "0.0.0.0"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_readable_password_is_noticed(nowhere: Path) -> None:
    settings = load(MAILBOX.replace("password_command", "password"))
    path = Path("bounceparse.toml").absolute()
    path.chmod(0o644)
    assert exposed_secrets(settings) == [f"{path}: holds a password and others may read it: chmod 600 {path}"]
    path.chmod(0o600)
    assert exposed_secrets(settings) == []


def test_the_template_that_init_writes_is_valid() -> None:
    text = files("bounceparse.cli").joinpath("bounceparse.toml").read_text("utf-8")
    assert set(load(text).mailbox) == {"bounces"}


def test_every_commented_line_of_the_template_is_valid_too() -> None:
    text = files("bounceparse.cli").joinpath("bounceparse.toml").read_text("utf-8")
    known = {"port", "password_file", "keep_days", "recipient_headers", "authserv_id", "trust", "token_command"}
    commented = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    assert known <= {next(iter(tomllib.loads(line))) for line in commented if not line.startswith(("Any", "BOUNCE"))}


def test_a_stream_has_its_own_retry_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations have a unit or are hours; a stream is named as in the ledger, also by the environment."""
    assert load(MAILBOX).life.retry_window == timedelta(hours=48)
    text = f'{MAILBOX}\n[life]\nretry_window = 24\n[stream.news]\nretry_window = "5d"\n[stream."Orders.2026"]\n'
    monkeypatch.setenv("BOUNCEPARSE_STREAM__ORDERS_2026__RETRY_WINDOW", "30m")
    found = load(text)
    assert found.life.retry_window == timedelta(hours=24)
    assert {name: one.retry_window for name, one in found.stream.items()} == {
        "news": timedelta(days=5),
        "Orders.2026": timedelta(minutes=30),
    }


@pytest.mark.parametrize("value", ['"two days"', "true", "-3", "1.5", '"5y"'])
def test_a_duration_that_is_none_names_the_key(value: str) -> None:
    words = fault(f"{MAILBOX}\n[stream.news]\nretry_window = {value}\n")
    assert "[stream.news] retry_window" in words
    assert "48h" in words

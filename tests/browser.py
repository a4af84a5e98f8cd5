"""A real headless Chromium for tests, spoken to over its pipe (the DevTools protocol), with nothing else installed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 30.0
_KEYS = {"Tab": 9, "Enter": 13, "Space": 32}


def require_chromium() -> str:
    """The path of Chromium; the test is skipped without one, unless skips are failures."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    reason = "Chromium is not installed: apt-get install chromium"
    if os.environ.get("BOUNCEPARSE_TEST_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Browser:
    """One tab of a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._left = 0, b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Call a method of the protocol and wait for its answer; events on the way are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        ends = time.monotonic() + _PATIENCE
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._from], [], [], max(0.0, ends - time.monotonic()))
            if not ready:
                raise AssertionError("the browser does not answer")
            self._left += os.read(self._from, 1_048_576)
        told, _, self._left = self._left.partition(b"\0")
        return dict(json.loads(told))

    def wait_for_load(self) -> None:
        """Wait until the page that is on its way is there."""
        ends = time.monotonic() + _PATIENCE
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            if time.monotonic() > ends:
                raise AssertionError("the page does not load")
            self.events.append(self._read())
        self.events = [one for one in self.events if one.get("method") != "Page.loadEventFired"]

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)
        self.wait_for_load()

    def run(self, script: str) -> Any:
        """What a script answers that the test runs in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def submit(self, script: str) -> None:
        """Run a script that leads to another page, and wait for that."""
        self.run(script)
        self.wait_for_load()

    def submit_by(self, key: str) -> None:
        """Press a key that leads to another page, and wait for that."""
        self.press(key)
        self.wait_for_load()

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        told = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int, *, phone: bool = False, scale: float = 1) -> None:
        """The size of the window."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )

    def scheme(self, name: str) -> None:
        """What the reader prefers: ``light`` or ``dark``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def shot(self, path: Path, *, whole: bool = False) -> None:
        """A picture of the page, or of the whole of it."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser with an empty profile."""
    program = require_chromium()
    our_read, its_write = os.pipe()
    its_read, our_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="bounceparse-chromium-", ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-component-update",
            "--mute-audio",
            "--remote-debugging-pipe",
        ]

        def give_pipes() -> None:  # the browser reads at 3 and writes at 4
            first, second = os.dup(its_read), os.dup(its_write)
            high = os.dup2(first, 98, inheritable=True), os.dup2(second, 99, inheritable=True)
            os.dup2(high[0], 3, inheritable=True)
            os.dup2(high[1], 4, inheritable=True)

        process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=give_pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "HOME": profile,
                "http_proxy": "",
                "https_proxy": "",
                "HTTP_PROXY": "",
                "HTTPS_PROXY": "",
            },
        )
        os.close(its_read)
        os.close(its_write)
        try:
            yield Browser(our_write, our_read)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(our_read)
            os.close(our_write)

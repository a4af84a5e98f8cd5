"""The one-click unsubscribe service (RFC 8058): a WSGI application and a server for it; standard library only.

``POST`` with the exact body ``List-Unsubscribe=One-Click``, as a form of either encoding, unsubscribes; again and again it
is the same. ``GET`` and ``HEAD``, which scanners and previews send, change nothing and show a page that asks. No redirect,
no cookie, no script. A token that is forged, expired or unknown gets a plain refusal, and is counted.

::

    application = OneClick(store)                  # for any WSGI server
    with serve(application, "127.0.0.1", 8058) as server:
        server.serve_forever()
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from html import escape
from socketserver import ThreadingMixIn
from threading import Lock
from typing import TYPE_CHECKING, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from bounceparse.errors import BounceparseError
from bounceparse.verp import Verdict, find_tokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_MOST_BODY = 4096
_SECONDS = 10  # a client that sends nothing for so long is let go
_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),  # the address of the page is the token
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
]
_TEXTS = {
    "en": {
        "ask": "Do you want to receive no more mail from this list?",
        "button": "Unsubscribe",
        "done": "You are unsubscribed. You will receive no more mail from this list.",
        "expired": "This link has expired. Please use the link in a newer mail.",
        "refused": "This link is not valid. Please use the link in one of our mails.",
        "later": "This does not work at the moment. Please try again in a few minutes.",
        "body": "This address takes unsubscribe requests only.",
    },
    "pl": {
        "ask": "Czy chcesz zrezygnować z otrzymywania wiadomości z tej listy?",
        "button": "Wypisz mnie",
        "done": "Adres został wypisany. Nie będziemy już wysyłać wiadomości z tej listy.",
        "expired": "Ten link wygasł. Użyj linku z nowszej wiadomości.",
        "refused": "Ten link jest nieprawidłowy. Użyj linku z jednej z naszych wiadomości.",
        "later": "Chwilowo nie działa. Spróbuj ponownie za kilka minut.",
        "body": "Ten adres przyjmuje tylko prośby o wypisanie.",
    },
}
_REFUSALS = {Verdict.EXPIRED: ("410 Gone", "expired")}
_REFUSED = ("404 Not Found", "refused")


class Requests(Protocol):
    """Who knows the tokens: :class:`bounceparse.db.Store`."""

    def check_token(self, token: str) -> Verdict:
        """What an unsubscribe token is worth; changes nothing."""

    def unsubscribe(self, token: str) -> Verdict:
        """Record the request if the token is valid. The same token again changes nothing."""


class OneClick:
    """The WSGI application. The token is looked for in the path, then in the query.

    ``counts`` holds how many requests were answered ``done``, ``asked``, ``body`` (no one-click body), ``later`` (the
    database does not answer), ``forbidden`` (other methods), or refused, by :class:`Verdict`. ``on_refusal`` is called
    with the verdict and the client's address.
    """

    def __init__(self, requests: Requests, on_refusal: Callable[[str, str], None] | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self._requests = requests
        self._on_refusal = on_refusal
        self._lock = Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        extra: list[tuple[str, str]] = []
        try:
            if method == "POST":
                status, text = self._post(environ)
            elif method in ("GET", "HEAD"):
                status, text = self._judge(environ, self._requests.check_token, "ask")
            else:
                status, text = self._tell("405 Method Not Allowed", "body", "forbidden")
                extra = [("Allow", "GET, HEAD, POST")]
        except BounceparseError:
            status, text = self._tell("503 Service Unavailable", "later", "later")
            extra = [("Retry-After", "300")]
        page = _page(text, _language(environ), asks=text == "ask")
        start_response(status, [*_HEADERS, *extra, ("Content-Length", str(len(page)))])
        return [] if method == "HEAD" else [page]

    def _post(self, environ: WSGIEnvironment) -> tuple[str, str]:
        if not _is_one_click(environ):
            return self._tell("400 Bad Request", "body", "body")
        return self._judge(environ, self._requests.unsubscribe, "done")

    def _judge(self, environ: WSGIEnvironment, act: Callable[[str], Verdict], text: str) -> tuple[str, str]:
        place = f"{environ.get('PATH_INFO', '')[-1000:]}?{environ.get('QUERY_STRING', '')[:1000]}"
        tokens = find_tokens(place)
        verdict = act(tokens[0]) if tokens else Verdict.UNSIGNED
        if verdict is Verdict.VALID:
            return self._tell("200 OK", text, "asked" if text == "ask" else text)
        if self._on_refusal:
            self._on_refusal(verdict.value, str(environ.get("REMOTE_ADDR", "")))
        return self._tell(*_REFUSALS.get(verdict, _REFUSED), verdict.value)

    def _tell(self, status: str, text: str, count: str) -> tuple[str, str]:
        with self._lock:
            self.counts[count] += 1
        return status, text


def _is_one_click(environ: WSGIEnvironment) -> bool:
    """Whether the body is the one field that RFC 8058 section 3.2 asks for, and nothing else."""
    length = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit() and 0 < int(length) <= _MOST_BODY):
        return False
    body = environ["wsgi.input"].read(int(length))
    kind = environ.get("CONTENT_TYPE") or ""
    media_type, _, parameters = kind.partition(";")
    if media_type.strip().lower() == "multipart/form-data":
        return _is_one_part(body, parameters)
    return bool(body.strip() == b"List-Unsubscribe=One-Click")


def _is_one_part(body: bytes, parameters: str) -> bool:
    """The same as ``multipart/form-data`` (RFC 7578): one part of this name and value."""
    name, _, boundary = parameters.strip().partition("=")
    delimiter = b"--" + boundary.partition(";")[0].strip().strip('"').encode("ascii", "replace")
    if name.strip().lower() != "boundary" or len(delimiter) < 3:
        return False
    before, *parts = body.replace(b"\r\n", b"\n").split(delimiter)
    if before.strip() or len(parts) != 2 or not parts[1].startswith(b"--"):
        return False
    head, blank, value = parts[0].partition(b"\n\n")
    disposition = head.lower().replace(b'"', b"")
    return (
        bool(blank)
        and value.strip() == b"One-Click"
        and b"form-data;" in disposition
        and b"name=list-unsubscribe" in disposition.replace(b" ", b"")
    )


def _language(environ: WSGIEnvironment) -> str:
    wanted = str(environ.get("HTTP_ACCEPT_LANGUAGE", ""))[:200].lower()
    places = {language: wanted.find(language) for language in _TEXTS}
    named = [language for language in places if places[language] >= 0]
    return min(named, key=places.__getitem__) if named else "en"


def _page(text: str, language: str, *, asks: bool) -> bytes:
    texts = _TEXTS[language]
    form = (
        f'<form method="post"><button name="List-Unsubscribe" value="One-Click">{escape(texts["button"])}</button></form>'
        if asks
        else ""
    )
    return (
        f'<!DOCTYPE html><html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(texts['button'])}</title><p>{escape(texts[text])}</p>{form}</html>\n"
    ).encode()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext | None = None

    def finish_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """In the request's own thread: a client that is slow to greet must not keep others waiting."""
        request.settimeout(_SECONDS)
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self.context is not None:
            request.close()

    def handle_error(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        """A client that breaks off or speaks no HTTP is no news."""


class _Handler(WSGIRequestHandler):
    def address_string(self) -> str:
        return str(self.client_address[0])  # no question to the DNS

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line of a log would hold the token."""


def serve(application: OneClick, host: str, port: int, context: ssl.SSLContext | None = None) -> WSGIServer:
    """A server that listens on ``host`` and ``port``, a thread a request; with ``context`` it speaks TLS.

    Meant for a place behind a proxy, or for a small sender by itself. Raises ``OSError`` when the port is taken.
    """
    server = make_server(host, port, application, _Server, _Handler)
    server.context = context
    return server

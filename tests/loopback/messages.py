"""A request and its answer, between the socket and the services."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, field
from email import message_from_bytes
from urllib.parse import parse_qsl, urlencode, urlsplit


@dataclass
class Request:
    """What was asked. Parameters of the address and of a form count alike; their names are in upper case."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]  # names in lower case
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    time: float = field(default_factory=time.time)  # s since 1970, of arrival
    fault: str = ""  # the fault that was put into the answer, if any
    status: int = 0  # HTTP status answered; 0 before, or if the connection was broken instead
    seconds: float = 0.0  # from arrival to the answer's last byte

    @property
    def query(self) -> str:
        """The parameters as one string, in order of name, readable: `FORMAT=fits&IMAGE=...`."""
        return "&".join(f"{name}={value}" for name, value in sorted(self.params.items()))

    @property
    def key(self) -> str:
        """The same for the same request, whatever job number or upload boundary it has: what faults depend on."""
        path = re.sub(r"(/async/\w+)\.\d+", r"\1", self.path)
        digests = [f"{name}:{hashlib.sha256(data).hexdigest()}" for name, data in sorted(self.files.items())]
        return " ".join([self.method, f"{path}?{self.query}", *digests])


@dataclass
class Response:
    """What is answered."""

    body: bytes
    content_type: str = "text/plain"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def text(message: str, status: int = 200) -> Response:
    """A plain-text answer of one line."""
    return Response(f"{message}\n".encode(), "text/plain; charset=utf-8", status)


def parse_request(method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
    """A request as it came over the wire.

    Args:
        method: GET, POST or DELETE.
        target: path and query part.
        headers: by name in lower case.
        body: as sent.

    Returns:
        The request.
    """
    parts = urlsplit(target)
    params = dict(parse_qsl(parts.query, keep_blank_values=True))
    files: dict[str, bytes] = {}
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        form = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        for part in form.get_payload():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if part.get_filename() is None:
                params[name] = content.decode()
            else:
                files[name] = content
    elif body:
        params |= dict(parse_qsl(body.decode(), keep_blank_values=True))
    return Request(method, parts.path, {name.upper(): value for name, value in params.items()}, headers, files)


def address(path: str, **params: str) -> str:
    """An address with its parameters quoted."""
    return f"{path}?{urlencode(params, safe=',/')}"

"""What the tests of TAP share: VOTables as services write them, and forms as clients send them."""

import email
import email.policy
from urllib.parse import parse_qsl

from datasets.archives.http import Client
from datasets.archives.tap import TapService
from tests.datasets.archives.tiny_server import Answer, Asked

ADQL = "SELECT TOP 3 object_id, raj2000, g_psf FROM dr4.master"
BIG = 9007199254740993  # 2^53 + 1: no float64 holds it

FIELDS = (
    '<FIELD name="object_id" datatype="long"/>'
    '<FIELD name="raj2000" datatype="double" unit="deg"/>'
    '<FIELD name="g_psf" datatype="float" unit="mag"/>'
    '<FIELD name="filter" datatype="char" arraysize="*"/>'
)
ROWS = (
    (f"{BIG}", "12.5", "14.25", "u"),
    ("", "359.99999999", "", "v"),
    ("7", "NaN", "NaN", ""),
)


def votable(rows=ROWS, fields=FIELDS, status="OK", message="", after="") -> bytes:
    cells = "".join("<TR>" + "".join(f"<TD>{cell}</TD>" for cell in row) + "</TR>" for row in rows)
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="{status}">{message}</INFO>'
        f"<TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE>{after}</RESOURCE></VOTABLE>"
    ).encode()


def refusal(message: str) -> bytes:
    return (
        '<VOTABLE version="1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="ERROR">{message}</INFO></RESOURCE></VOTABLE>'
    ).encode()


OVERFLOW = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
GOOD = Answer(votable())


def service(url: str, **changes) -> TapService:
    settings = {"rate_per_s": 1e4, "tries": 3, "backoff_s": 0.001, "timeout_s": 5.0}
    return TapService(f"{url}/tap/", Client(**(settings | changes)))


def form(asked: Asked) -> dict[str, bytes]:
    """The parts of a form, whichever of its two encodings it has."""
    content_type = asked.headers["Content-Type"]
    if content_type.startswith("application/x-www-form-urlencoded"):
        return {name: value.encode() for name, value in parse_qsl(asked.body.decode())}
    message = email.message_from_bytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + asked.body, policy=email.policy.default
    )
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in message.iter_parts()
    }

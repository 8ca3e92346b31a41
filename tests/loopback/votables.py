"""The XML of a TAP service: VOTables, VOSI and UWS documents."""

from __future__ import annotations

import io
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from astropy.io.votable import from_table, parse_single_table
from astropy.io.votable.tree import Info
from astropy.table import Table

from tests.loopback.database import Answer, votable_type

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_IVOA = "http://www.ivoa.net/xml"
_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def answer_xml(answer: Answer, serialization: str = "binary2") -> bytes:
    """A result with its QUERY_STATUS: OK before the table, OVERFLOW after it where rows are missing (DALI 4.4.1)."""
    document = from_table(answer.table)
    resource = document.resources[0]
    resource.type = "results"
    resource.infos.append(Info(name="QUERY_STATUS", value="OK"))
    out = io.BytesIO()
    document.to_xml(out, tabledata_format=serialization)
    xml = out.getvalue()
    if answer.overflow:
        head, _, tail = xml.rpartition(b"</RESOURCE>")
        xml = head + b'<INFO name="QUERY_STATUS" value="OVERFLOW"/>\n</RESOURCE>' + tail
    return xml


def error_xml(message: str) -> bytes:
    """A query refused (DALI 4.4.2)."""
    return (
        f'{_HEAD}<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO></RESOURCE></VOTABLE>\n'
    ).encode()


def uploaded_table(xml: bytes) -> Table:
    """The table of an uploaded VOTable.

    Raises:
        Exception: whatever astropy raises for XML that is no VOTable.
    """
    return parse_single_table(io.BytesIO(xml)).to_table(use_names_over_ids=True)


def tables_xml(tables: Mapping[str, Table]) -> bytes:
    """VOSI 1.1 tables."""
    schemas: dict[str, list[str]] = {}
    for name, table in tables.items():
        columns = "".join(map(_column_xml, table.itercols()))
        schemas.setdefault(name.split(".")[0], []).append(f"<table><name>{name}</name>{columns}</table>")
    body = "".join(f"<schema><name>{name}</name>{''.join(parts)}</schema>" for name, parts in schemas.items())
    namespaces = (
        f'xmlns:v="http://www.ivoa.net/xml/VOSITables/v1.0" xmlns:d="http://www.ivoa.net/xml/VODataService/v1.1" {_XSI}'
    )
    return f"{_HEAD}<v:tableset {namespaces}>{body}</v:tableset>\n".encode()


def _column_xml(column) -> str:
    unit = f"<unit>{escape(str(column.unit))}</unit>" if column.unit is not None else ""
    kind = votable_type(column)
    size = ' arraysize="*"' if kind == "char" else ""
    return (
        f'<column><name>{column.name}</name>{unit}<dataType xsi:type="d:VOTableType"{size}>{kind}</dataType></column>'
    )


def capabilities_xml(tap_url: str, max_rows: int) -> bytes:
    """VOSI capabilities of a TAP 1.1 service with inline uploads."""
    upload = '<uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-inline"/>'
    limit = f'<outputLimit><default unit="row">{max_rows}</default><hard unit="row">{max_rows}</hard></outputLimit>'
    tap = (
        '<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">'
        f'<interface role="std" version="1.1" xsi:type="vs:ParamHTTP"><accessURL use="base">{tap_url}</accessURL>'
        "</interface>"
        "<language><name>ADQL</name><version>2.0</version></language>"
        "<outputFormat><mime>application/x-votable+xml</mime><alias>votable</alias></outputFormat>"
        f"{upload}{limit}</capability>"
    )
    namespaces = (
        f'xmlns:vosi="{_IVOA}/VOSICapabilities/v1.0" xmlns:tr="{_IVOA}/TAPRegExt/v1.0"'
        f' xmlns:vs="{_IVOA}/VODataService/v1.1" {_XSI}'
    )
    return f"{_HEAD}<vosi:capabilities {namespaces}>{tap}</vosi:capabilities>\n".encode()


def job_xml(job_id: str, phase: str, job_url: str, error: str, parameters: Mapping[str, str]) -> bytes:
    """UWS 1.1 job.

    Args:
        job_id: the job's.
        phase: of UWS.
        job_url: its address.
        error: the message, if it failed.
        parameters: it was started with.

    Returns:
        The document.
    """
    given = "".join(f"<uws:parameter id={quoteattr(k)}>{escape(v)}</uws:parameter>" for k, v in parameters.items())
    result = f'<uws:result id="result" xlink:href={quoteattr(job_url + "/results/result")}/>'
    summary = (
        f'<uws:errorSummary type="fatal" hasDetail="true"><uws:message>{escape(error)}</uws:message></uws:errorSummary>'
    )
    return (
        f'{_HEAD}<uws:job xmlns:uws="{_IVOA}/UWS/v1.0" xmlns:xlink="http://www.w3.org/1999/xlink" {_XSI}'
        f' version="1.1"><uws:jobId>{job_id}</uws:jobId><uws:ownerId xsi:nil="true"/><uws:phase>{phase}</uws:phase>'
        f'<uws:quote xsi:nil="true"/><uws:executionDuration>600</uws:executionDuration>'
        f'<uws:destruction xsi:nil="true"/><uws:parameters>{given}</uws:parameters>'
        f"<uws:results>{result if phase == 'COMPLETED' else ''}</uws:results>"
        f"{summary if phase == 'ERROR' else ''}</uws:job>\n"
    ).encode()

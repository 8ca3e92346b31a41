import io

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from datasets.archives.http import TransientError
from datasets.archives.votable import read_answer
from tests.datasets.archives.tiny_tap import BIG, votable


@pytest.mark.parametrize("serialization", ["tabledata", "binary", "binary2"])
def test_every_serialization_is_read(serialization):
    sent = Table(
        {"source_id": np.array([BIG, 2, 3]), "ra": np.array([1.5, 2.5, 3.5]) * u.deg, "filter": ["u", "v", "g"]}
    )
    document = io.BytesIO()
    sent.write(document, format="votable", tabledata_format=serialization)
    table = read_answer(document.getvalue()).table
    assert table["source_id"].tolist() == [BIG, 2, 3]
    assert table["ra"].unit == u.deg
    np.testing.assert_array_equal(table["ra"], [1.5, 2.5, 3.5])
    assert table["filter"].tolist() == ["u", "v", "g"]


@pytest.mark.parametrize(
    ("datatype", "cells", "expected"),
    [
        ('datatype="char" arraysize="*"', ["9007199254740993", "", "-3"], [BIG, None, -3]),
        ('datatype="unicodeChar" arraysize="*"', [" 20140301123456 ", "2", "3"], [20140301123456, 2, 3]),
        ('datatype="int"', ["1", "", "3"], [1, None, 3]),
        ('datatype="double"', ["20140301123456", "NaN", "3.0"], [20140301123456, None, 3]),
    ],
)
@pytest.mark.parametrize("name", ["object_id", "source_id", "image_id"])
def test_ids_are_int64_whatever_type_was_sent(name, datatype, cells, expected):
    sent = votable([[cell] for cell in cells], f'<FIELD name="{name}" {datatype}/>')
    column = read_answer(sent).table[name]
    assert column.dtype == np.int64
    assert column.tolist() == expected


@pytest.mark.parametrize(
    ("datatype", "cell"),
    [
        ("datatype='double'", "9007199254740992"),
        ("datatype='double'", "1.5"),
        ("datatype='double'", "Infinity"),
        ("datatype='char' arraysize='*'", "SMSS J01"),
        ("datatype='char' arraysize='*'", "1" * 30),
    ],
)
def test_ids_that_a_type_has_spoiled_are_refused(datatype, cell):
    with pytest.raises(TransientError, match="object_id"):
        read_answer(votable([[cell]], f'<FIELD name="object_id" {datatype}/>'))


def stream(attributes: str, prefix: str = "") -> bytes:
    return (
        f'<VOTABLE><RESOURCE type="results"><TABLE><FIELD name="a" datatype="int"/><DATA><BINARY>'
        f"<{prefix}STREAM {attributes}></{prefix}STREAM></BINARY></DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


@pytest.mark.parametrize(
    "attributes",
    [
        "href='{}'",
        'encoding="base64" href="{}"',
        'encoding="base64"\n\thref = "{}"',
        "rights='a>b' href='{}'",
        'rights="\'" href="{}"',
    ],
)
@pytest.mark.parametrize("prefix", ["", "v:"])
def test_no_other_address_is_read(tmp_path, attributes, prefix):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0\0\0\7")
    with pytest.raises(TransientError, match="another address"):
        read_answer(stream(attributes.format(secret.as_uri()), prefix))


def test_no_address_hides_in_an_entity_or_another_encoding(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0\0\0\7")
    plain = stream(f"href='{secret.as_uri()}'").decode()
    hidden = plain.replace(f"<STREAM href='{secret.as_uri()}'></STREAM>", "&s;")
    assert hidden != plain
    entity = f"<!DOCTYPE VOTABLE [<!ENTITY s \"&#60;STREAM href='{secret.as_uri()}'/>\">]>" + hidden
    for document in (entity.encode(), plain.encode("utf-16"), plain.encode("utf-16-le"), plain.encode("utf-32")):
        with pytest.raises(TransientError):
            read_answer(document)


def test_a_billion_laughs_are_not_laughed():
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE VOTABLE [<!ENTITY l0 "ha">{levels}]><VOTABLE><DESCRIPTION>&l11;</DESCRIPTION></VOTABLE>'
    with pytest.raises(TransientError):
        read_answer(bomb.encode())

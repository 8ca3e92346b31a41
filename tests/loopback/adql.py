"""ADQL, as far as catalogue queries need it, put into DuckDB's SQL."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'                            # string
      | "(?:[^"]|"")*"                            # quoted identifier
      | --[^\n]*                                  # comment
      | [A-Za-z_]\w*                              # word
      | (?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?      # number
      | \s+ | :: | == | .                         # the rest
    """,
    re.VERBOSE | re.DOTALL,
)
_FUNCTIONS = {"LOG": "ln", "TRUNCATE": "trunc"} | {
    name: f"adql_{name.lower()}" for name in ("POINT", "CIRCLE", "CONTAINS", "DISTANCE", "COORD1", "COORD2")
}
_NOT_ADQL = {"LIMIT", "WITH", "QUALIFY", "TRUE", "FALSE", "ILIKE", "PIVOT", "EXCLUDE", ";", "::", "=="}
"""What DuckDB understands and an ADQL 2.0 service refuses."""

MACROS = (
    """CREATE MACRO separation_deg(ra1, dec1, ra2, dec2) AS 2 * degrees(asin(least(1.0, sqrt(
        sin(radians(dec2 - dec1) / 2) ** 2
        + cos(radians(dec1)) * cos(radians(dec2)) * sin(radians(ra2 - ra1) / 2) ** 2))))""",
    """CREATE MACRO adql_point(frame, ra, dec) AS struct_pack(ra := ra, dec := dec),
        (ra, dec) AS struct_pack(ra := ra, dec := dec)""",
    """CREATE MACRO adql_circle(frame, ra, dec, radius) AS struct_pack(ra := ra, dec := dec, radius := radius),
        (ra, dec, radius) AS struct_pack(ra := ra, dec := dec, radius := radius),
        (point, radius) AS struct_pack(ra := point.ra, dec := point.dec, radius := radius)""",
    # The declinations alone exclude most pairs, without a sine.
    """CREATE MACRO adql_contains(point, circle) AS CASE
        WHEN abs(point.dec - circle.dec) > circle.radius THEN 0
        WHEN separation_deg(point.ra, point.dec, circle.ra, circle.dec) <= circle.radius THEN 1
        ELSE 0 END""",
    """CREATE MACRO adql_distance(a, b) AS separation_deg(a.ra, a.dec, b.ra, b.dec),
        (ra1, dec1, ra2, dec2) AS separation_deg(ra1, dec1, ra2, dec2)""",
    "CREATE MACRO adql_coord1(point) AS point.ra",
    "CREATE MACRO adql_coord2(point) AS point.dec",
)
"""The functions that the translation calls; angles in degrees, distances along great circles (haversine)."""


class AdqlError(Exception):
    """The query is not ADQL, or asks for what is not there; the message is the service's answer."""


def to_sql(adql: str) -> str:
    """The query for DuckDB: TOP as LIMIT, geometry as macros, TAP_UPLOAD as the connection's temporary tables.

    Raises:
        AdqlError: if it is no SELECT, or uses what ADQL 2.0 lacks.
    """
    tokens = [token for token in _TOKEN.findall(adql) if not token.startswith("--")]
    words = [token.upper() for token in tokens if not token.isspace()]
    if not words or words[0] != "SELECT":
        raise AdqlError(f"Encountered {words[0] if words else 'nothing'!r}, was expecting: SELECT")
    for word in words:
        if word in _NOT_ADQL:
            raise AdqlError(f"Encountered {word!r}, which is not ADQL 2.0")
    return _translated(tokens)


def _translated(tokens: list[str]) -> str:
    sql: list[str] = []
    limits = [""]  # of each open bracket
    position = 0
    while position < len(tokens):
        token = tokens[position]
        word = token.upper()
        following = _next_word(tokens, position)
        if word == "TOP" and following.isdigit() and _last_word(sql) in ("SELECT", "DISTINCT", "ALL"):
            limits[-1] = f" LIMIT {following}"
            position = tokens.index(following, position)
        elif word in _FUNCTIONS and following == "(":
            sql.append(_FUNCTIONS[word])
        elif word == "TAP_UPLOAD" and following == ".":
            sql.append("temp")
        elif token == "(":
            limits.append("")
            sql.append(token)
        elif token == ")" and len(limits) > 1:
            sql += [limits.pop(), token]
        else:
            sql.append(token)
        position += 1
    return "".join(sql) + limits[0]


def _next_word(tokens: list[str], position: int) -> str:
    return next((token for token in tokens[position + 1 :] if not token.isspace()), "")


def _last_word(tokens: list[str]) -> str:
    return next((token.upper() for token in reversed(tokens) if not token.isspace()), "")

"""Accept and Content-Type: read as RFC 9110 writes them, and refused with 400 where they are garbled or endless."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from dicom_node.web.dicomweb.negotiate import ANY, LONGEST, Accepted, accepted, parameters

SOON = settings(deadline=timedelta(seconds=5))
PIECES = [
    "a",
    "/",
    "*",
    "=",
    ";",
    ",",
    '"',
    "\\",
    " ",
    "\n",
    "é",
    "q=",
    "0.5",
    "nan",
    "multipart/related",
    "type=",
    "transfer-syntax=",
]


def request(accept: Sequence[str] = (), parameter: str = "") -> Request:
    """A request with these Accept headers and this `accept` parameter."""
    headers = [(b"accept", each.encode("utf-8")) for each in accept]
    query = f"accept={quote(parameter)}" if parameter else ""
    return Request({"type": "http", "headers": headers, "query_string": query.encode()})


def test_what_dicomweb_clients_say() -> None:
    said = request(
        [
            'multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5, image/jpeg;q=0.7',
            'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.70',
            "application/dicom+json;q=0",
        ]
    )
    assert accepted(said) == [
        Accepted("application/octet-stream", True, "1.2.840.10008.1.2.4.70", 1.0),
        Accepted("image/jpeg", False, "", 0.7),
        Accepted("application/dicom", True, ANY, 0.5),
    ]


def test_the_parameter_stands_for_the_header() -> None:
    assert accepted(request(["image/png"], "image/jpeg, image/gif;q=0.1")) == [
        Accepted("image/jpeg", False, "", 1.0),
        Accepted("image/gif", False, "", 0.1),
    ]
    assert accepted(request()) == [Accepted("*/*", False, "", 1.0)]


@pytest.mark.parametrize("garbled", ["image/png;q=much", "multipart/related;transfer-syntax=../1", "a" * 300 + ";q=x"])
def test_what_cannot_be_read(garbled: str) -> None:
    with pytest.raises(HTTPException, match="cannot be read") as caught:
        accepted(request([garbled]))
    assert caught.value.status_code == 400 and len(caught.value.detail) < 300


@given(st.lists(st.text('ab;,=\\" é/', max_size=20), max_size=5))
def test_quoted_strings_hold_anything(values: list[str]) -> None:
    """Commas, semicolons, quotes and backslashes, too."""
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    header = "; ".join(["A/b", *(f"P{i} = {each}" for i, each in enumerate(quoted))])
    assert parameters(header) == ("a/b", {f"p{i}": value for i, value in enumerate(values)})
    assert [each.media_type for each in accepted(request(parameter=f"{header}, c/d"))] == ["a/b", "c/d"]


@SOON
@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text(), st.integers(min_value=1, max_value=65_536))
def test_nothing_but_400_and_soon(text: str, length: int) -> None:
    """Whatever is sent, as header or as parameter, repeated up to 64 kB."""
    text = (text * (length // max(len(text), 1)))[:length]
    for said in (request([text]), request(parameter=text.encode("utf-8", "replace").decode())):
        try:
            found = accepted(said)
        except HTTPException as error:
            assert error.status_code == 400
        else:
            assert all(each.quality > 0 for each in found)


@SOON
@given(st.sampled_from(['"', ";", ",", '";', '",', "\\", '\\"', "a;b=", '"a', "a/b,", ' "']))
def test_the_longest_are_read_soon(piece: str) -> None:
    text = (piece * LONGEST)[:LONGEST]
    parameters(text)
    accepted(request([text]))
    with pytest.raises(HTTPException, match="more than 16384 characters") as caught:
        accepted(request([text, "a/b"]))
    assert caught.value.status_code == 400

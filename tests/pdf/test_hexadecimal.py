"""Hexadecimal strings are read in one piece, and come out as pyHanko reads them digit by digit."""

from __future__ import annotations

import importlib.util
import io
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.misc import PdfStreamError

from signing_service.pdf.hexadecimal import read_hexadecimal
from signing_service.pdf.reading import hexadecimal


def _untouched() -> ModuleType:
    """pyHanko's module as it is on disk, beside the one that this process uses."""
    spec = importlib.util.spec_from_file_location("pyhanko.pdf_utils.untouched", generic.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


UNTOUCHED = _untouched()


def test_this_process_reads_them_our_way() -> None:
    assert generic.read_hex_string_from_stream is hexadecimal.read_hexadecimal


@given(content=st.text(alphabet="0123456789abcdefABCDEF \t\r\n\f\0", max_size=200), after=st.binary(max_size=20))
@example(content="ab" * 5000 + "c", after=b"> >")
def test_a_string_is_read_as_pyhanko_reads_it(content: str, after: bytes) -> None:
    ours, theirs = (io.BytesIO(b"<" + content.encode() + b">" + after) for _ in range(2))
    expected = UNTOUCHED.read_hex_string_from_stream(theirs)
    found = read_hexadecimal(ours)
    assert found == expected
    assert type(found).__name__ == type(expected).__name__
    assert found.original_bytes == expected.original_bytes
    assert ours.tell() == theirs.tell()


@pytest.mark.parametrize("content", [b"<4", b"<", b"<4z>", b"<4<1>", b"<%\n41>"])
def test_what_is_not_one_is_refused(content: bytes) -> None:
    with pytest.raises(PdfStreamError):
        read_hexadecimal(io.BytesIO(content))

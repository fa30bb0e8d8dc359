"""pyHanko as it comes, without what we read faster: the oracle of what was read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyhanko.pdf_utils import filters, generic, reader, xref

from signing_service.pdf import ascii85, objects, tables


@contextmanager
def stock() -> Iterator[None]:
    """Inside, this process reads documents as pyHanko alone does (but for hexadecimal strings, which have a test)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generic, "read_object", objects._stock)
        patch.setattr(filters.ASCII85Decode, "decode", ascii85._stock)
        patch.setattr(xref, "parse_xref_table", tables._stock_table)
        patch.setattr(xref, "read_object_header", tables._stock_header)
        patch.setattr(reader, "read_object_header", tables._stock_header)
        patch.setattr(reader, "process_data_at_eof", tables._stock_last)
        yield

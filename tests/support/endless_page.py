"""A page that would be ready long after the sun is gone."""

from __future__ import annotations

from pathlib import Path

import pikepdf


def forms_in_forms(path: Path) -> Path:
    """Each draws the next ten times: ten to the power of twenty in the end."""
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        form = {"/Type": pikepdf.Name.XObject, "/Subtype": pikepdf.Name.Form, "/BBox": pikepdf.Array([0, 0, 9, 9])}
        inner = pdf.make_stream(b"0 0 1 1 re f", form)
        for _ in range(20):
            within = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=inner))
            inner = pdf.make_stream(b"/F Do " * 10, {**form, "/Resources": within})
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=inner))
        page.Contents = pdf.make_stream(b"/F Do")
        pdf.save(path)
    return path

"""What readers that are not ours say about a signed document: poppler, OpenSSL, qpdf."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_BYTE_RANGE = re.compile(rb"/ByteRange \[0 (\d+) (\d+) (\d+)\]")


def _said(*command: str | Path) -> str:
    ran = subprocess.run([str(each) for each in command], capture_output=True, check=False, text=True)
    return ran.stdout + ran.stderr


def poppler_says(path: Path) -> str:
    """The output of `pdfsig`, without asking whom it trusts."""
    return _said("pdfsig", "-nocert", path)


def qpdf_finds_nothing_wrong(path: Path) -> bool:
    return subprocess.run(["qpdf", "--check", str(path)], capture_output=True, check=False).returncode == 0


def text_of(path: Path) -> str:
    return _said("pdftotext", "-layout", path, "-")


def openssl_verifies_last_signature(path: Path, root: bytes, folder: Path) -> str:
    """`openssl cms -verify` over the bytes that the last /ByteRange names; its words."""
    content = path.read_bytes()
    first, second, rest = (int(each) for each in _BYTE_RANGE.findall(content)[-1])
    (folder / "signed.bin").write_bytes(content[:first] + content[second : second + rest])
    container = bytes.fromhex(content[first + 1 : second - 1].decode())
    (folder / "cms.der").write_bytes(container)
    (folder / "root.der").write_bytes(root)
    _said("openssl", "x509", "-inform", "DER", "-in", folder / "root.der", "-out", folder / "root.pem")
    return _said(
        "openssl", "cms", "-verify", "-binary", "-cades", "-inform", "DER", "-in", folder / "cms.der",
        "-content", folder / "signed.bin", "-CAfile", folder / "root.pem", "-purpose", "any",
        "-out", folder / "verified.bin",
    )

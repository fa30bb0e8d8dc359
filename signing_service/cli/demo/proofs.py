"""What others than us say about a signed document. Each check raises Untrue with what it saw."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from asn1crypto import cms
from pyhanko.pdf_utils.reader import PdfFileReader

from signing_service.pdf.judge import judge
from signing_service.pdf.work import Judgement, JudgeOrder, Verdict

SECONDS = 60


class Untrue(Exception):
    """Something that should hold does not."""


@dataclass(frozen=True)
class Extracted:
    """The parts of the last signature of a document, as anybody can cut them out of the file."""

    cms: bytes
    covered: bytes
    value: bytes
    timestamp: bytes


def begins_with(signed: Path, submitted: Path) -> int:
    """The signed document begins with exactly the bytes that were submitted; how many were added."""
    before, after = submitted.read_bytes(), signed.read_bytes()
    if not after.startswith(before):
        raise Untrue("the signed document does not begin with the submitted bytes")
    return len(after) - len(before)


def judged_by_pyhanko(signed: Path, root: bytes, now: datetime) -> Judgement:
    judgements = judge(JudgeOrder(signed, (root,), now))
    if len(judgements) != 1:
        raise Untrue(f"{len(judgements)} signatures instead of one")
    if judgements[0].verdict is not Verdict.VALID or judgements[0].timestamp_time is None:
        raise Untrue(f"pyHanko: {judgements[0].verdict}, {judgements[0].problem}")
    return judgements[0]


def judged_by_poppler(signed: Path) -> str:
    """pdfsig looks at the signature itself; without a certificate store it trusts no issuer, and says so."""
    said = _run(["pdfsig", str(signed)], also=(1,))
    for wanted in ("Signature is Valid", "Total document signed"):
        if wanted not in said:
            raise Untrue(f"pdfsig does not say {wanted!r}: {said[-600:]}")
    return "Signature is Valid, Total document signed"


def sound_for_qpdf(signed: Path) -> None:
    _run(["qpdf", "--check", str(signed)], also=(3,))  # 3: warnings, which the submitted file may have caused


def verified_by_openssl(signed: Path, root: Path) -> None:
    """The CMS over the covered bytes up to the root, and the timestamp over the signature value (RFC 3161)."""
    parts = extract(signed)
    with tempfile.TemporaryDirectory(prefix="signing-") as folder:
        files = {name: Path(folder) / name for name in ("cms", "covered", "value", "timestamp")}
        for name, file in files.items():
            file.write_bytes(getattr(parts, name))
        _run(["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", str(files["cms"]), "-content",
              str(files["covered"]), "-CAfile", str(root), "-purpose", "any", "-out", "/dev/null"])
        _run(["openssl", "ts", "-verify", "-token_in", "-in", str(files["timestamp"]), "-data", str(files["value"]),
              "-CAfile", str(root)])


def extract(signed: Path) -> Extracted:
    """Cut the signature out of the file by its byte range (ISO 32000-2 12.8.1)."""
    content = signed.read_bytes()
    with signed.open("rb") as file:
        embedded = PdfFileReader(file).embedded_regular_signatures[-1]
        begin, length, resume, rest = (int(number) for number in embedded.byte_range)
        container = bytes(embedded.pkcs7_content)
    info = cms.ContentInfo.load(container)["content"]["signer_infos"][0]
    token = next(attribute["values"][0] for attribute in info["unsigned_attrs"]
                 if attribute["type"].native == "signature_time_stamp_token")
    return Extracted(
        cms=cms.ContentInfo.load(container).dump(),
        covered=content[begin:begin + length] + content[resume:resume + rest],
        value=info["signature"].native, timestamp=token.dump(),
    )


def missing_programs() -> list[str]:
    return [name for name in ("pdfsig", "qpdf", "openssl") if shutil.which(name) is None]


def _run(command: Sequence[str], also: Sequence[int] = ()) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603 - fixed programs, no shell
    said = done.stdout + done.stderr
    if done.returncode not in (0, *also):
        raise Untrue(f"{' '.join(command[:3])}: {said.strip()[-600:]}")
    return said

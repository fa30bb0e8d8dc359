"""What inputs were made with: keys, certificates, a signed document. Made once and kept, or no input would fit again.

    python -m tests.fuzz.stage          # makes a new one; every corpus of signed things is then worth nothing

Private keys are not kept. Every certificate is of a test authority that nobody trusts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from tests.fuzz.corpora import CORPUS

FILE: Final = CORPUS / "stage.json"
CONTENTS: Final = re.compile(rb"/Contents <([0-9a-fA-F]+)>")
Stage = dict[str, bytes]


@cache
def stage() -> Stage:
    """Bytes by name."""
    told = json.loads(FILE.read_text(encoding="ascii"))
    return {name: base64.b64decode(value) for name, value in told.items()}


def moment() -> datetime:
    """When it was made: the time at which everything in it is valid."""
    return datetime.fromisoformat(stage()["moment"].decode())


def main() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    made = {"moment": now.isoformat().encode()} | _signed() | _stamped() | _chains()
    FILE.parent.mkdir(parents=True, exist_ok=True)
    told = {name: base64.b64encode(value).decode() for name, value in sorted(made.items())}
    FILE.write_text(json.dumps(told, indent=1) + "\n", encoding="ascii")


def _signed() -> Stage:
    """A small document with room for a signature, and containers that were made for it."""
    from signing_service.pdf.complete import complete
    from signing_service.pdf.prepare import prepare
    from signing_service.pdf.work import Level
    from tests.support.raw_pdf import document, one_page
    from tests.support.software_signatory import AUTHORITY, NOW, a_signatory, timestamp

    signatory, made = a_signatory(), {"root": AUTHORITY.root}
    with tempfile.TemporaryDirectory() as name:
        plain, tail, out = (Path(name) / each for each in ("plain.pdf", "tail", "out.pdf"))
        plain.write_bytes(document(one_page()))
        order = signatory.order(plain, tail, level=Level.B_T)
        prepared = prepare(order)
        value = signatory.sign(prepared.to_sign)
        for level, token in (("B-B", None), ("B-T", timestamp(value, NOW))):
            complete(signatory.completes_with(plain, tail, out, prepared, value, token=token))
            made["document"] = out.read_bytes()
            made[f"cms {level}"] = _container(made["document"])
            out.unlink()
    return made | {"signer": signatory.certificate}


def _container(document: bytes) -> bytes:
    found = CONTENTS.search(document)
    assert found is not None
    padded = bytes.fromhex(found[1].decode())
    length = int.from_bytes(padded[2:4], "big")
    return padded[: 4 + length]


def _stamped() -> Stage:
    """Answers of a timestamp authority to one question."""
    from cryptography.x509.oid import ExtendedKeyUsageOID

    from tests.support.authority import TestCa, der, response, rsa_key, timestamping_extensions

    ca, imprint = TestCa.fresh(), hashlib.sha256(b"a signature value").digest()
    tsa, between = ca.timestamping(), ca.intermediate()
    below = between.timestamping()
    tokens = {
        "ec": tsa.token(imprint, nonce=77),
        "rsa": ca.timestamping(rsa_key()).token(imprint, nonce=77),
        "pss": ca.timestamping(rsa_key()).token(imprint, nonce=77, pss=True),
        "sha512": tsa.token(imprint, nonce=77, signed_with="sha512"),
        "ess": tsa.token(imprint, nonce=77, ess="v1"),
        "between": below.token(imprint, nonce=77, certificates=(below.certificate, der(between.certificate))),
        "not for time": ca.timestamping(extensions=timestamping_extensions(
            (ExtendedKeyUsageOID.CODE_SIGNING,))).token(imprint, nonce=77),
    }
    return {"tsa root": ca.root, "imprint": imprint} | {
        f"answer {name}": response(token) for name, token in tokens.items()}


def _chains() -> Stage:
    """A certificate below two authorities, its key, a request, and the same in every wrapping."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
    from cryptography.x509.oid import NameOID

    from tests.support.authority import KEY_USAGE, TestCa, ec_key, rsa_key

    root, key = TestCa.fresh("Root"), ec_key()
    below = root.intermediate("Issuer")
    extensions = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**KEY_USAGE | {"digital_signature": True, "content_commitment": True}), True),
        (x509.SubjectAlternativeName([
            x509.RFC822Name("an@example.vn"), x509.DirectoryName(root.certificate.subject),
            x509.UniformResourceIdentifier("http://example.vn"), x509.DNSName("example.vn")]), False),
        (x509.CRLDistributionPoints([x509.DistributionPoint(
            [x509.UniformResourceIdentifier("http://example.vn/crl")], None, None, None)]), False),
        (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), ["http://example.vn"])]),
         False),
        (x509.NameConstraints([x509.DNSName("example.vn")], None), False),
    ]
    leaf = below.issue("Nguyễn Văn An", key, extensions)
    chain = [leaf, below.certificate, root.certificate]
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"),
                      x509.NameAttribute(NameOID.COMMON_NAME, "Nguyễn Văn An")])
    requests = {kind: x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(
        x509.BasicConstraints(False, None), True).sign(made, SHA256()).public_bytes(Encoding.PEM)
        for kind, made in (("ec", key), ("rsa", rsa_key()))}
    return {
        "key": key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "chain pem": b"".join(each.public_bytes(Encoding.PEM) for each in chain),
        "chain p7b pem": pkcs7.serialize_certificates(chain, Encoding.PEM),
        "chain p7b der": pkcs7.serialize_certificates(chain, Encoding.DER),
        "leaf": leaf.public_bytes(Encoding.DER), "issuer": below.root, "chain root": root.root,
    } | {f"request {kind}": value for kind, value in requests.items()}


if __name__ == "__main__":
    main()

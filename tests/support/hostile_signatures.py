"""Traps in signatures that a document already carries: the bytes they cover, their CMS, their certificates, their
claims on the rest of the document.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from asn1crypto import cms, core, x509
from cryptography import x509 as pyca
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.raw_pdf import catalogue, document, one_page, page, revision

Make = Callable[[], bytes]
_DER: Final = serialization.Encoding.DER


def signed_by(contents: bytes, entries: bytes = b"/ByteRange [0 10 20 30]", *, field: bytes = b"", times: int = 1,
              root: bytes = b"", **extra: bytes) -> bytes:
    """A page with signature fields whose value has these bytes in /Contents."""
    kids = b" ".join(b"%d 0 R" % (20 + at) for at in range(times))
    objects = one_page(catalogue=catalogue(b"/AcroForm << /SigFlags 3 /Fields [%s] >> %s" % (kids, root)))
    for at in range(times):
        objects[20 + at] = b"<< /FT /Sig /T (s%d) /V 9 0 R /Subtype /Widget /Rect [0 0 0 0] %s >>" % (at, field)
    objects[9] = b"<< /Type /Sig /Filter /Adobe.PPKLite /SubFilter /ETSI.CAdES.detached %s /Contents <%s> >>" % (
        entries, contents.hex().encode())
    return document({**objects, **{int(name[1:]): content for name, content in extra.items()}})


def nested(depth: int) -> bytes:
    """ASN.1 sequences of indefinite length, one in the other."""
    return b"\x30\x80" * depth


def long_form(size: int) -> bytes:
    """A sequence that claims to be so many bytes long."""
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return b"\x30" + bytes((0x80 | len(length),)) + length + b"\x02\x01\x01"


@cache
def _certificate(number: int = 0, *, extensions: int = 0) -> bytes:
    key = ec.derive_private_key(7 + number, ec.SECP256R1())
    name = pyca.Name([pyca.NameAttribute(NameOID.COMMON_NAME, f"Certificate {number}")])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (pyca.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
               .serial_number(1 + number).not_valid_before(now).not_valid_after(now + timedelta(days=3_650)))
    for at in range(extensions):
        oid = pyca.ObjectIdentifier(f"1.3.6.1.4.1.99999.{at}")
        builder = builder.add_extension(pyca.UnrecognizedExtension(oid, b"\x04\x00"), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(_DER)


def cms_of(certificates: list[bytes], *, signers: int = 1, value: bytes = b"x" * 64, algorithm: str = "sha256_ecdsa",
           digest: str = "sha256", attributes: int = 0) -> bytes:
    """Detached signed data with this much in it; nothing it says is true."""
    first = x509.Certificate.load(certificates[0])
    held: list[Any] = [
        {"type": "content_type", "values": ["data"]}, {"type": "message_digest", "values": [bytes(32)]},
        *({"type": f"1.3.6.1.4.1.99999.{at}", "values": [core.Null()]} for at in range(attributes)),
    ]
    signer = {
        "version": "v1", "digest_algorithm": {"algorithm": digest}, "signature": value,
        "sid": cms.SignerIdentifier("issuer_and_serial_number", cms.IssuerAndSerialNumber({
            "issuer": first.issuer, "serial_number": first.serial_number})),
        "signed_attrs": cms.CMSAttributes([cms.CMSAttribute(each) for each in held]),
        "signature_algorithm": {"algorithm": algorithm},
    }
    signed = cms.SignedData({
        "version": "v1", "digest_algorithms": [{"algorithm": digest}], "signer_infos": [signer] * signers,
        "encap_content_info": {"content_type": "data"},
        "certificates": [x509.Certificate.load(each) for each in certificates],
    })
    encoded: bytes = cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump()
    return encoded


def with_rsa_key(bits: int, exponent: int) -> bytes:
    """A certificate whose RSA key nobody has, of any size; its own signature is noise."""
    modulus = (1 << (bits - 1)) | 1
    loaded = x509.Certificate.load(_certificate())
    tbs = loaded["tbs_certificate"]
    tbs["subject_public_key_info"] = {
        "algorithm": {"algorithm": "rsa", "parameters": core.Null()},
        "public_key": {"modulus": modulus, "public_exponent": exponent},
    }
    made: bytes = x509.Certificate({
        "tbs_certificate": tbs, "signature_algorithm": {"algorithm": "sha256_rsa"}, "signature_value": b"x" * 64,
    }).dump(force=True)
    return made


def large_chain(length: int) -> list[bytes]:
    return [_certificate(at) for at in range(length)]


def certified(permission: bytes) -> bytes:
    """A document whose first signature permits so much, or says something else there."""
    reference = b"/Reference [<< /Type /SigRef /TransformMethod /DocMDP /TransformParams << /P %s /V /1.2 >> >>]"
    return signed_by(nested(3), b"/ByteRange [0 10 20 30] " + reference % permission,
                     root=b"/Perms << /DocMDP 9 0 R >>")


def long_after(count: int) -> bytes:
    """A signature, and a revision after it that touches a great many objects."""
    content = signed_by(cms_of([_certificate()]))
    at = int(content.rpartition(b"startxref\n")[2].split()[0])
    changed = {100 + number: b"<< /A %d 0 R >>" % (101 + number) for number in range(count)}
    return content + revision(changed, len(content), b"/Prev %d" % at, size=200 + count)


_RANGE: Final = b"/ByteRange %s"
SIGNATURES: Final[dict[str, Make]] = {
    "a signature that covers less than nothing": lambda: signed_by(nested(3), _RANGE % b"[0 -10 -20 30]"),
    "a signature that covers more than there is": lambda: signed_by(nested(3), _RANGE % b"[0 999999999999 10 99]"),
    "a signature that covers things twice": lambda: signed_by(nested(3), _RANGE % b"[0 500 100 500]"),
    "a signature that covers half a pair": lambda: signed_by(nested(3), _RANGE % b"[0 10 20]"),
    "a signature that covers a million pieces": lambda: signed_by(nested(3), _RANGE % (b"[%s]" % (b"0 9 " * 500_000))),
    "a signature that covers names": lambda: signed_by(nested(3), _RANGE % b"[/A /B /C /D]"),
    "a signature that covers a number": lambda: signed_by(nested(3), _RANGE % b"17"),
    "a signature that covers nothing it says": lambda: signed_by(nested(3), b""),
    "a signature that covers itself": lambda: signed_by(nested(3), _RANGE % b"[0 400 400 100]"),
    "a signature of eight megabytes": lambda: signed_by(bytes(8 << 20)),
    "a signature of sequences within sequences": lambda: signed_by(nested(200_000)),
    "a signature that claims four thousand million bytes": lambda: signed_by(long_form(2**32 - 1)),
    "a signature that claims more bytes than there are atoms": lambda: signed_by(long_form(2**400)),
    "a signature with two thousand certificates": lambda: signed_by(cms_of(large_chain(300) * 7)),
    "a signature with ten thousand signers": lambda: signed_by(cms_of([_certificate()], signers=10_000)),
    "a signature with twenty thousand attributes": lambda: signed_by(cms_of([_certificate()], attributes=20_000)),
    "a signature value of eight megabytes": lambda: signed_by(cms_of([_certificate()], value=b"x" * (8 << 20))),
    "a signature by a certificate of a thousand critical extensions": lambda: signed_by(
        cms_of([_certificate(1, extensions=1_000)])),
    "a signature by an RSA key of a hundred thousand bits": lambda: signed_by(
        cms_of([with_rsa_key(100_000, 65_537)], algorithm="sha256_rsa", value=b"x" * 12_500)),
    "a signature by an RSA key of sixteen thousand bits with an exponent as large": lambda: signed_by(
        cms_of([with_rsa_key(16_384, (1 << 16_383) | 1)], algorithm="sha256_rsa", value=b"x" * 2_048)),
    "a signature by an RSA key whose exponent is one": lambda: signed_by(
        cms_of([with_rsa_key(2_048, 1)], algorithm="sha256_rsa", value=b"x" * 256)),
    "a signature in MD5": lambda: signed_by(cms_of([_certificate()], digest="md5")),
    "a signature that says it is of another kind": lambda: signed_by(
        cms_of([_certificate()], algorithm="sha256_rsa")),
    "a signature that is text": lambda: signed_by(b"-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----"),
    "a signature without a content": lambda: signed_by(b""),
    "thirty-three signatures": lambda: signed_by(nested(3), times=33),
    "ten thousand fields with one signature": lambda: signed_by(nested(3), times=10_000),
    "thirty-two signatures over thirty megabytes": lambda: (
        signed_by(cms_of([_certificate()]), _RANGE % b"[0 31000000 31000000 10]", times=32) + b" " * (30 << 20)
        + b"\nstartxref\n15\n%%EOF\n"),
    "a signature that is its own field": lambda: signed_by(nested(3), field=b"/V 20 0 R"),
    "a field whose parent is itself": lambda: signed_by(nested(3), field=b"/Parent 20 0 R"),
    "a lock that names a hundred thousand fields": lambda: signed_by(
        nested(3), field=b"/Lock << /Type /SigFieldLock /Action /Include /Fields [%s] >>" % (b"(a) " * 100_000)),
    "a lock that is itself": lambda: signed_by(nested(3), field=b"/Lock 10 0 R", o10=b"10 0 R"),
    "a document certified against every change": lambda: certified(b"1"),
    "a document certified for something unheard of": lambda: certified(b"99"),
    "a document certified by a name": lambda: certified(b"/None"),
    "a document certified by a reference to itself": lambda: certified(b"9 0 R"),
    "evidence in circles": lambda: signed_by(
        nested(3), root=b"/DSS 10 0 R", o10=b"<< /Certs [10 0 R] /VRI << /A 10 0 R >> /OCSPs 10 0 R >>"),
    "evidence of a hundred thousand certificates": lambda: signed_by(
        nested(3), root=b"/DSS << /Certs [%s] >>" % (b"4 0 R " * 100_000)),
    "a signature before thirty thousand changes": lambda: long_after(30_000),
    "a signature of a way nobody knows": lambda: signed_by(nested(3)).replace(
        b"ETSI.CAdES.detached", b"surprise.surprise.x"),
    "a signature of the way before last": lambda: signed_by(nested(3)).replace(
        b"ETSI.CAdES.detached", b"adbe.x509.rsa_sha1 "),
    "a form that says that it is signed by a name": lambda: document(one_page(
        catalogue=catalogue(b"/AcroForm << /SigFlags /Yes /Fields 17 /NeedAppearances (x) /DR 1 0 R >>"),
        page=page(b""))),
}

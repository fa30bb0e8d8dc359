"""A small certification authority and RFC 3161 timestamp authority for tests, with a switch for every misbehaviour.

    ca = TestCa.fresh()
    tsa = ca.timestamping()
    token = tsa.token(imprint, nonce=7)             # a good one
    token = tsa.token(imprint, ess_of=b"another")   # one that lies
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signing_service.timestamp_check import TimeStampResp

POLICY = "1.3.6.1.4.1.99999.1"
KEY_USAGE = dict.fromkeys((
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
), False)


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once for each process: an RSA key costs a tenth of a second."""
    return rsa.generate_private_key(65537, bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class TestCa:
    """Issues certificates. `certificate` is self-signed unless it came from `intermediate`."""

    __test__ = False  # not a test, whatever its name says
    certificate: x509.Certificate
    key: Any

    @classmethod
    def fresh(cls, text: str = "Test Root") -> TestCa:
        key = ec_key()
        return cls(_certificate(name(text), key, name(text), key, _authority(None)), key)

    @property
    def root(self) -> bytes:
        return der(self.certificate)

    def intermediate(self, text: str = "Test Intermediate", **changes: Any) -> TestCa:
        key = ec_key()
        extensions = changes.pop("extensions", _authority(0))
        return TestCa(self.issue(text, key, extensions, **changes), key)

    def issue(self, text: str, key: Any, extensions: list[Any], **changes: Any) -> x509.Certificate:
        return _certificate(name(text), key, self.certificate.subject, self.key, extensions, **changes)

    def timestamping(self, key: Any = None, **changes: Any) -> TestTsa:
        key = key or ec_key()
        extensions = changes.pop("extensions", timestamping_extensions())
        certificate = self.issue("Test TSA", key, extensions, **changes)
        return TestTsa(certificate=der(certificate), key=key, chain=(self.root,))


def timestamping_extensions(
    usages: tuple[Any, ...] = (ExtendedKeyUsageOID.TIME_STAMPING,), *, critical: bool = True,
) -> list[tuple[Any, bool]]:
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**KEY_USAGE | {"digital_signature": True}), True),
        (x509.ExtendedKeyUsage(list(usages)), critical),
    ]


def _authority(path_length: int | None) -> list[tuple[Any, bool]]:
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (x509.KeyUsage(**KEY_USAGE | {"key_cert_sign": True, "crl_sign": True}), True),
    ]


def _certificate(
    subject: x509.Name, key: Any, issuer: x509.Name, issuer_key: Any, extensions: list[tuple[Any, bool]], *,
    begins: datetime | None = None, ends: datetime | None = None,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - timedelta(days=1)).not_valid_after(ends or now + timedelta(days=365))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


@dataclass(frozen=True)
class TestTsa:
    """A timestamp authority that does as it is told."""

    __test__ = False
    certificate: bytes
    key: Any
    chain: tuple[bytes, ...] = ()
    lies: dict[str, Any] = field(default_factory=dict)

    def lying(self, **lies: Any) -> TestTsa:
        """The same authority that answers every question with these changes."""
        return replace(self, lies=self.lies | lies)

    def answer(self, question: bytes) -> bytes:
        """A TimeStampResp for a TimeStampReq."""
        request = tsp.TimeStampReq.load(question, strict=True)
        imprint = request["message_imprint"]
        asked = {"digest": imprint["hash_algorithm"]["algorithm"].native, "nonce": request["nonce"].native}
        policy = request["req_policy"]
        if policy.native is not None:
            asked["policy"] = policy.dotted
        token = self.token(imprint["hashed_message"].native, **asked | self.lies)
        return response(token)

    def token(
        self, imprint: bytes, *, digest: str = "sha256", nonce: int | None = None, policy: str = POLICY,
        time: datetime | None = None, certificates: tuple[bytes, ...] | None = None, ess: str = "v2",
        ess_of: bytes | None = None, spoil_signature: bool = False, spoil_content: bool = False,
        signed_with: str = "sha256", signed_type: str = "tst_info", critical_extension: bool = False,
        signers: int = 1, pss: bool = False, changed_imprint: bytes | None = None,
    ) -> bytes:
        """A token over `imprint` (DER ContentInfo), with whatever is to be wrong with it."""
        info = _info(changed_imprint or imprint, digest, nonce, policy, time or datetime.now(UTC), critical_extension)
        content = info.dump()
        attributes = self._attributes(content, signed_with, signed_type, ess, ess_of or self.certificate)
        value = self._sign(attributes.dump(), signed_with, pss)
        signer = self._signer(attributes, _flipped(value) if spoil_signature else value, signed_with, pss)
        carried = (self.certificate, *self.chain) if certificates is None else certificates
        if spoil_content:
            content = _info(imprint, digest, nonce, policy, datetime(2020, 1, 1, tzinfo=UTC), False).dump()
        return _wrapped(content, carried, [signer] * signers, signed_with)

    def _attributes(self, content: bytes, function: str, signed_type: str, ess: str, named: bytes) -> Any:
        found = [
            cms.CMSAttribute({"type": "content_type", "values": [signed_type]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.new(function, content).digest()]}),
        ]
        if ess == "v2":
            found.append(cms.CMSAttribute({"type": "signing_certificate_v2", "values": [
                tsp.SigningCertificateV2({"certs": [{"cert_hash": hashlib.sha256(named).digest()}]})]}))
        if ess == "v1":
            digest = hashlib.sha1(named, usedforsecurity=False).digest()
            found.append(cms.CMSAttribute({"type": "signing_certificate", "values": [
                tsp.SigningCertificate({"certs": [{"cert_hash": digest}]})]}))
        return cms.CMSAttributes(found)

    def _sign(self, covered: bytes, function: str, pss: bool) -> bytes:
        hashed = getattr(hashes, function.upper())()
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(covered, ec.ECDSA(hashed))
        scheme = padding.PSS(padding.MGF1(hashed), hashed.digest_size) if pss else padding.PKCS1v15()
        return self.key.sign(covered, scheme, hashed)

    def _signer(self, attributes: Any, value: bytes, function: str, pss: bool) -> Any:
        certificate = asn1_x509.Certificate.load(self.certificate)
        return cms.SignerInfo({
            "version": "v1",
            "sid": cms.SignerIdentifier("issuer_and_serial_number", cms.IssuerAndSerialNumber({
                "issuer": certificate.issuer, "serial_number": certificate.serial_number})),
            "digest_algorithm": {"algorithm": function}, "signed_attrs": attributes,
            "signature_algorithm": self._algorithm(function, pss), "signature": value,
        })

    def _algorithm(self, function: str, pss: bool) -> Any:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return {"algorithm": f"{function}_ecdsa"}
        if not pss:
            return {"algorithm": f"{function}_rsa"}
        parameters = algos.RSASSAPSSParams({
            "hash_algorithm": {"algorithm": function}, "salt_length": hashlib.new(function).digest_size,
            "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": function}},
        })
        return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": parameters})


def _info(
    imprint: bytes, digest: str, nonce: int | None, policy: str, time: datetime, critical_extension: bool
) -> Any:
    fields: dict[str, Any] = {
        "version": "v1", "policy": policy, "serial_number": 4711, "gen_time": time.replace(microsecond=0),
        "message_imprint": {"hash_algorithm": {"algorithm": digest}, "hashed_message": imprint},
    }
    if nonce is not None:
        fields["nonce"] = nonce
    if critical_extension:
        fields["extensions"] = [{"extn_id": "1.2.3.4", "critical": True, "extn_value": b"\x05\x00"}]
    return tsp.TSTInfo(fields)


def _wrapped(content: bytes, certificates: tuple[bytes, ...], signers: list[Any], function: str) -> bytes:
    signed = cms.SignedData({
        "version": "v3", "digest_algorithms": [{"algorithm": function}], "signer_infos": signers,
        "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
        "certificates": [asn1_x509.Certificate.load(each) for each in certificates],
    })
    encoded: bytes = cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump()
    return encoded


def response(token: bytes | None, status: str = "granted") -> bytes:
    fields: dict[str, Any] = {"status": {"status": status}}
    if token is not None:
        fields["time_stamp_token"] = cms.ContentInfo.load(token)
    encoded: bytes = TimeStampResp(fields).dump()
    return encoded


def _flipped(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])

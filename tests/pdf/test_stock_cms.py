"""The joined container is the one that pyHanko would have built, byte for byte, but for two choices of its own.

pyHanko writes NULL behind the name of a hash function, where RFC 5754 2 wants nothing, and names issuer and serial
number in the signing certificate's identifier, which RFC 5035 4 leaves free and the signer's own identifier says
already. With those two taken back, nothing differs.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from asn1crypto import algos, x509
from asn1crypto import cms as asn1
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyhanko.sign.signers import ExternalSigner
from pyhanko_certvalidator.registry import SimpleCertificateStore

from hsm.algorithms import Algorithm, Padding
from signing_service.pdf import cms
from tests.support import campaign
from tests.support.ca import TestCa
from tests.support.software_signatory import AUTHORITY, spki, timestamp

KINDS = {Padding.PKCS1: ("rsa",), Padding.PSS: ("rsa",), Padding.ECDSA: ("p-256", "p-384")}
CERTIFICATES = {kind: AUTHORITY.issue(spki(kind), "Nguyễn Văn Thử") for kind in ("rsa", "p-256", "p-384")}
OTHERS = (AUTHORITY.root, TestCa().root, TestCa().root)     # only carried here: nobody builds a path
TOKEN = timestamp(b"value")


def stock(certificate: bytes, chain: tuple[bytes, ...], algorithm: Algorithm, digest: bytes, value: bytes,
          token: bytes | None) -> bytes:
    """What pyHanko builds, without its two choices."""
    store = SimpleCertificateStore()
    store.register_multiple([x509.Certificate.load(each) for each in chain])
    signer = ExternalSigner(
        x509.Certificate.load(certificate), store, signature_value=value,
        signature_mechanism=_salted(algorithm) if algorithm.padding is Padding.PSS else None)
    name = algorithm.digest.value
    built = asyncio.run(signer.async_sign(digest, name, use_pades=True))
    info = built["content"]["signer_infos"][0]
    info["signed_attrs"] = asn1.CMSAttributes([_without_issuer(each) for each in info["signed_attrs"]])
    info["digest_algorithm"] = _bare(name)
    built["content"]["digest_algorithms"] = [_bare(name)]
    if token is not None:
        info["unsigned_attrs"] = asn1.CMSAttributes([
            {"type": "signature_time_stamp_token", "values": [asn1.ContentInfo.load(token)]}])
    encoded: bytes = built.dump(force=True)
    return encoded


def _salted(algorithm: Algorithm) -> algos.SignedDigestAlgorithm:
    """The salt is as long as the digest (RFC 4056 3), not as long as it can be, which is what pyHanko would ask for."""
    digest = {"algorithm": algorithm.digest.value}
    return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": algos.RSASSAPSSParams({
        "hash_algorithm": digest, "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": digest},
        "salt_length": algorithm.digest.size})})


def _bare(digest: str) -> Any:
    bare = asn1.DigestAlgorithm({"algorithm": digest})
    del bare["parameters"]
    return bare


def _without_issuer(attribute: Any) -> Any:
    if attribute["type"].native == "signing_certificate_v2":
        (identified,) = attribute["values"][0]["certs"]
        del identified["issuer_serial"]
    return attribute


@settings(max_examples=campaign.rounds(15, 2_000), deadline=None, phases=[Phase.explicit, Phase.generate])
@given(draw=st.data(), algorithm=st.sampled_from(Algorithm), length=st.integers(0, 3), stamped=st.booleans(),
       content=st.binary(max_size=16), value=st.binary(min_size=1, max_size=512))
def test_what_is_joined_is_what_pyhanko_builds(
    draw: Any, algorithm: Algorithm, length: int, stamped: bool, content: bytes, value: bytes
) -> None:
    certificate = CERTIFICATES[draw.draw(st.sampled_from(KINDS[algorithm.padding]))]
    chain, token = OTHERS[:length], TOKEN if stamped else None
    digest = hashlib.new(algorithm.digest.value, content).digest()
    attributes = cms.signed_attributes(certificate, digest)
    joined = cms.container(certificate, chain, algorithm, attributes, value, token)
    built = stock(certificate, chain, algorithm, digest, value, token)
    assert told(joined) == told(built)
    assert joined == built


def told(container: bytes) -> Any:
    """For a difference that can be read: what both say, before their bytes are compared."""
    info = asn1.ContentInfo.load(container, strict=True)["content"]
    (signer,) = info["signer_infos"]
    return {
        "algorithms": [each.dump().hex() for each in info["digest_algorithms"]],
        "signature algorithm": signer["signature_algorithm"].dump().hex(),
        "attributes": [each.dump().hex() for each in signer["signed_attrs"]],
        "certificates": [each.chosen.dump() for each in info["certificates"]],
    }

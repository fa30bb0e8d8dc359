from __future__ import annotations

import subprocess
import sys

import pytest
from asn1crypto.algos import SignedDigestAlgorithmId

from hsm.algorithms import Algorithm, Digest, KeyKind, Padding, default_algorithm


@pytest.mark.parametrize(
    "name",
    ["sha1", "rsa-sha1", "RSA-SHA256", "ecdsa-sha1", "pss-sha1", "rsa-md5", "ecdsa-sha224", "rsa", "ed25519", ""],
)
def test_what_is_not_in_the_set_cannot_be_expressed(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        Algorithm(name)
    with pytest.raises(ValueError, match="is not a valid"):
        Digest(name)


@pytest.mark.parametrize("name", ["rsa-1024", "rsa-2047", "rsa-8192", "p-192", "p-521", "secp256k1", ""])
def test_a_weak_or_unknown_key_cannot_be_expressed(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        KeyKind(name)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_name_and_oid_of_an_algorithm_agree_with_the_cms_library(algorithm: Algorithm) -> None:
    assert SignedDigestAlgorithmId.map(algorithm.facts.oid) == algorithm.facts.identifier


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_name_of_an_algorithm_says_its_padding_and_digest(algorithm: Algorithm) -> None:
    padding = {Padding.PKCS1: "rsa", Padding.PSS: "pss", Padding.ECDSA: "ecdsa"}[algorithm.padding]
    assert algorithm == f"{padding}-{algorithm.digest}"


@pytest.mark.parametrize("kind", list(KeyKind))
def test_every_kind_of_key_has_a_default_that_it_can_make(kind: KeyKind) -> None:
    assert default_algorithm(kind).fits(kind)
    assert any(not algorithm.fits(kind) for algorithm in Algorithm)


def test_the_pure_modules_bring_no_pkcs11_into_a_process() -> None:
    """The front imports them, and must never load a device's library."""
    program = (
        "import sys, hsm, hsm.algorithms, hsm.errors, hsm.device, hsm.settings, hsm.verification, hsm.sealing\n"
        "sys.exit(any(name.split('.')[0] in ('pkcs11', 'signing_service', 'policies') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

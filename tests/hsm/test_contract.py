"""What every Device promises; run over real modules and over the in-memory twin (`conftest.DEVICES`)."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from hsm import Device
from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Capabilities, Custody, KeyRef, SecretRef, ServiceKey
from hsm.errors import KeyNotFound, Tampered, Unsupported
from hsm.sealing import row_mac, seal, unseal, verify_row_mac
from hsm.verification import checkpoint_holds, holds, matches

PAIRS = [(kind, algorithm) for kind in KeyKind for algorithm in Algorithm if algorithm.fits(kind)]
MISFITS = [(kind, algorithm) for kind in KeyKind for algorithm in Algorithm if not algorithm.fits(kind)]


def fresh_id() -> str:
    return f"key_{uuid.uuid4().hex}"


def digest_for(algorithm: Algorithm) -> bytes:
    return hashlib.new(algorithm.digest.value, b"a document").digest()


Keys = Callable[[KeyKind], KeyRef]
Usual = tuple[KeyKind, Algorithm]
wrapping = pytest.mark.usefixtures("wraps")
sealing = pytest.mark.usefixtures("seals")
curves = pytest.mark.usefixtures("has_ec")


@pytest.fixture(scope="session")
def key_of(device: Device, custody: Custody) -> Keys:
    """One key of each kind, wrapped where the device can, made when first asked for."""
    made: dict[KeyKind, KeyRef] = {}

    def key_of(kind: KeyKind) -> KeyRef:
        if kind not in made:
            made[kind] = device.generate_key(fresh_id(), kind, custody)
        return made[kind]

    return key_of


@pytest.mark.parametrize(("kind", "algorithm"), PAIRS)
def test_a_signature_verifies_in_another_library(
    device: Device, key_of: Keys, usual: Usual, kind: KeyKind, algorithm: Algorithm
) -> None:
    key, digest = key_of(kind), digest_for(algorithm)
    value = device.sign(key, algorithm, digest)
    assert holds(key.public_key, algorithm, digest, value)
    assert not holds(key.public_key, algorithm, bytes(len(digest)), value)
    assert not holds(key_of(usual[0]).public_key, algorithm, digest, value) or kind is usual[0]


@pytest.mark.parametrize("kind", list(KeyKind))
def test_the_public_key_is_of_the_kind_that_was_asked_for(key_of: Keys, kind: KeyKind) -> None:
    public = load_der_public_key(key_of(kind).public_key)
    assert isinstance(public, rsa.RSAPublicKey if kind.is_rsa else ec.EllipticCurvePublicKey)
    assert public.key_size == kind.bits
    if isinstance(public, rsa.RSAPublicKey):
        assert public.public_numbers().e == 65537


@pytest.mark.parametrize("kind", list(KeyKind))
def test_the_public_key_is_byte_for_byte_what_a_certificate_for_it_holds(key_of: Keys, kind: KeyKind) -> None:
    spelled = load_der_public_key(key_of(kind).public_key)
    assert key_of(kind).public_key == spelled.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(("kind", "misfit"), MISFITS)
def test_an_algorithm_that_does_not_fit_the_key_is_refused(
    device: Device, key_of: Keys, usual: Usual, kind: KeyKind, misfit: Algorithm
) -> None:
    key = replace(key_of(usual[0]), kind=kind)
    with pytest.raises(ValueError, match="cannot make"):
        device.sign(key, misfit, digest_for(misfit))


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("length", [0, 1, 20, 31, 33, 47, 49, 63, 65, 1000])
def test_only_a_digest_of_the_right_length_is_signed(
    device: Device, key_of: Keys, usual: Usual, algorithm: Algorithm, length: int
) -> None:
    kind = KeyKind.P256 if algorithm.fits(KeyKind.P256) else KeyKind.RSA_2048
    with pytest.raises(ValueError, match="bytes of digest"):
        device.sign(replace(key_of(usual[0]), kind=kind), algorithm, bytes(length))


@curves
def test_ecdsa_signs_the_leftmost_bits_of_a_digest_wider_than_its_curve(device: Device, key_of: Keys) -> None:
    key = key_of(KeyKind.P256)
    digest = digest_for(Algorithm.ECDSA_SHA512)
    value = device.sign(key, Algorithm.ECDSA_SHA512, digest)
    assert holds(key.public_key, Algorithm.ECDSA_SHA512, digest, value)
    assert holds(key.public_key, Algorithm.ECDSA_SHA256, digest[:32], value)


def test_a_key_reference_is_plain_data_that_survives_a_database(device: Device, key_of: Keys, usual: Usual) -> None:
    key = key_of(usual[0])
    read_back = KeyRef(str(key.id), KeyKind(str(key.kind)), Custody(str(key.custody)), key.public_key, key.blob)
    digest = digest_for(usual[1])
    value = device.sign(read_back, usual[1], digest)
    assert holds(key.public_key, usual[1], digest, value)


def test_two_keys_differ_in_key_and_blob(device: Device, usual: Usual, custody: Custody) -> None:
    one, two = (device.generate_key(fresh_id(), usual[0], custody) for _ in range(2))
    assert one.public_key != two.public_key
    assert one.blob != two.blob or custody is Custody.TOKEN
    assert not matches(one, two.public_key)
    assert matches(one, one.public_key)


@pytest.mark.parametrize("key_id", ["", "service:wrapping", "service:anything", "a\nb", "x" * 129])
def test_an_id_that_is_not_one_is_refused(device: Device, key_id: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        device.generate_key(key_id, KeyKind.P256, Custody.WRAPPED)
    with pytest.raises(ValueError, match="not an id"):
        device.generate_seed(key_id)


@wrapping
def test_a_key_wrapped_by_another_device_is_refused(device: Device, other: Device) -> None:
    theirs = other.generate_key(fresh_id(), KeyKind.P256, Custody.WRAPPED)
    with pytest.raises(KeyNotFound):
        device.sign(theirs, Algorithm.ECDSA_SHA256, bytes(32))


@wrapping
@pytest.mark.parametrize("where", [0, 7, 8, 40, -1])
def test_a_changed_blob_is_refused(device: Device, where: int) -> None:
    key = device.generate_key(fresh_id(), KeyKind.P256, Custody.WRAPPED)
    assert key.blob is not None
    changed = bytearray(key.blob)
    changed[where] ^= 1
    with pytest.raises(KeyNotFound):
        device.sign(replace(key, blob=bytes(changed)), Algorithm.ECDSA_SHA256, bytes(32))


@wrapping
@pytest.mark.parametrize("blob", [b"", b"short", bytes(16), bytes(80), bytes(10_000)])
def test_what_is_no_blob_at_all_is_refused(device: Device, key_of: Keys, blob: bytes) -> None:
    with pytest.raises(KeyNotFound):
        device.sign(replace(key_of(KeyKind.P256), blob=blob), Algorithm.ECDSA_SHA256, bytes(32))
    with pytest.raises(KeyNotFound):
        device.hmac_sha1(SecretRef("seed", blob), b"message")


@wrapping
def test_a_blob_of_another_kind_of_key_is_refused(device: Device, key_of: Keys) -> None:
    swapped = replace(key_of(KeyKind.RSA_2048), blob=key_of(KeyKind.P256).blob)
    with pytest.raises(KeyNotFound):
        device.sign(swapped, Algorithm.RSA_SHA256, bytes(32))


@wrapping
def test_a_swapped_blob_shows_because_the_public_key_must_match(device: Device) -> None:
    """A blob binds nothing: the device signs, with the wrong key, even when the right one is resident."""
    one, two = (device.generate_key(fresh_id(), KeyKind.P256, Custody.WRAPPED) for _ in range(2))
    device.sign(one, Algorithm.ECDSA_SHA256, bytes(32))
    value = device.sign(replace(one, blob=two.blob), Algorithm.ECDSA_SHA256, bytes(32))
    assert not holds(one.public_key, Algorithm.ECDSA_SHA256, bytes(32), value)
    assert holds(two.public_key, Algorithm.ECDSA_SHA256, bytes(32), value)


def test_a_token_key_has_no_blob_and_is_found_again(device: Device, usual: Usual) -> None:
    key = device.generate_key(fresh_id(), usual[0], Custody.TOKEN)
    assert key.blob is None
    for _ in range(2):
        value = device.sign(key, usual[1], bytes(32))
        assert holds(key.public_key, usual[1], bytes(32), value)
    device.destroy(key)


def test_a_destroyed_token_key_is_gone_also_when_it_was_resident(device: Device, usual: Usual) -> None:
    key = device.generate_key(fresh_id(), usual[0], Custody.TOKEN)
    device.sign(key, usual[1], bytes(32))
    device.destroy(key)
    with pytest.raises(KeyNotFound):
        device.sign(key, usual[1], bytes(32))
    device.destroy(key)  # repeatable


@wrapping
def test_destroying_a_wrapped_key_drops_the_resident_copy_and_the_blob_still_works(device: Device) -> None:
    key = device.generate_key(fresh_id(), KeyKind.P256, Custody.WRAPPED)
    device.sign(key, Algorithm.ECDSA_SHA256, bytes(32))
    device.destroy(key)
    value = device.sign(key, Algorithm.ECDSA_SHA256, bytes(32))
    assert holds(key.public_key, Algorithm.ECDSA_SHA256, bytes(32), value)


def test_a_seed_gives_the_codes_that_a_phone_computes_from_the_bytes_shown(device: Device) -> None:
    secret, seed = device.generate_seed(fresh_id())
    assert len(seed) == 20
    for message in (b"", bytes(8), (1234).to_bytes(8, "big"), b"x" * 5000):
        assert device.hmac_sha1(secret, message) == hmac.digest(seed, message, "sha1")


@wrapping
def test_two_seeds_differ_and_are_wrapped(device: Device) -> None:
    (one, shown), (two, other_shown) = device.generate_seed(fresh_id()), device.generate_seed(fresh_id())
    assert shown != other_shown
    assert one.blob != two.blob
    assert shown not in one.blob


@wrapping
def test_a_seed_of_another_device_is_refused(device: Device, other: Device) -> None:
    theirs, _ = other.generate_seed(fresh_id())
    with pytest.raises(KeyNotFound):
        device.hmac_sha1(theirs, b"message")


@wrapping
def test_a_private_key_is_not_taken_for_a_seed(device: Device, key_of: Keys) -> None:
    """Were it accepted, it would only be an HMAC key; the twin and SoftHSM both take it, and its MAC is no code."""
    blob = key_of(KeyKind.P256).blob
    assert blob is not None
    _, seed = device.generate_seed(fresh_id())
    try:
        mac = device.hmac_sha1(SecretRef("seed", blob), b"message")
    except KeyNotFound:
        return
    assert mac != hmac.digest(seed, b"message", "sha1")


def test_the_row_mac_is_the_same_every_time_and_another_on_another_device(device: Device, other: Device) -> None:
    mine = row_mac(device, "seeds", "s1", "alice", b"content", 1)
    assert len(mine) == 32
    assert mine == row_mac(device, "seeds", "s1", "alice", b"content", 1)
    assert mine != row_mac(other, "seeds", "s1", "alice", b"content", 1)
    verify_row_mac(device, "seeds", "s1", "alice", b"content", 1, mine)


@pytest.mark.usefixtures("signs_checkpoints")
def test_a_checkpoint_signature_verifies_and_binds_the_message(device: Device, able: Capabilities) -> None:
    key, value = device.checkpoint_key(), device.sign_checkpoint(b"checkpoint")
    kinds = ["ed25519", "ecdsa-p256"]
    assert key.algorithm == kinds.pop(0 if able.eddsa else 1)
    assert checkpoint_holds(key, b"checkpoint", value)
    assert not checkpoint_holds(key, b"checkpoint.", value)
    assert not checkpoint_holds(replace(key, algorithm=kinds[0]), b"checkpoint", value)
    assert not checkpoint_holds(key, b"checkpoint", value[:-1])


def test_the_timestamp_key_is_made_once(device: Device, usual: Usual) -> None:
    key = device.service_key("timestamp", usual[0])
    assert key == device.service_key("timestamp", usual[0])
    assert key.custody is Custody.TOKEN
    value = device.sign(key, usual[1], bytes(32))
    assert holds(key.public_key, usual[1], bytes(32), value)
    with pytest.raises(Unsupported):
        device.service_key("timestamp", KeyKind.P384)


@pytest.mark.parametrize("purpose", ["", "wrapping", "checkpoint", "self-test", "row-mac", "other"])
def test_service_purposes_are_closed(device: Device, purpose: str) -> None:
    with pytest.raises(ValueError, match="purpose"):
        device.service_key(purpose, KeyKind.P256)


def test_random_bytes_have_the_length_asked_for_and_differ(device: Device) -> None:
    assert [len(device.random(n)) for n in (1, 16, 32, 1000)] == [1, 16, 32, 1000]
    assert device.random(16) != device.random(16)
    with pytest.raises(ValueError, match="at least one"):
        device.random(0)


@sealing
@pytest.mark.parametrize("secret", [b"", b"x", b"a webhook secret", bytes(64 * 1024)])
def test_a_sealed_secret_comes_back(device: Device, secret: bytes) -> None:
    blob = seal(device, "webhook/1", secret)
    assert unseal(device, "webhook/1", blob) == secret
    assert len(secret) < 8 or secret not in blob
    assert blob != seal(device, "webhook/1", secret)


@sealing
def test_a_sealed_secret_opens_only_for_its_owner_unchanged_and_here(device: Device, other: Device) -> None:
    blob = seal(device, "webhook/1", b"a webhook secret")
    attempts: list[tuple[Device, str, bytes]] = [
        (device, "webhook/2", blob),
        (device, "", blob),
        (other, "webhook/1", blob),
        (device, "webhook/1", b""),
        (device, "webhook/1", blob[:27]),
        (device, "webhook/1", blob[:-1]),
        (device, "webhook/1", blob + b"\0"),
    ]
    changed = [bytes(b ^ (position == at) for position, b in enumerate(blob)) for at in range(len(blob))]
    attempts += [(device, "webhook/1", each) for each in changed]
    for where, owner, attempt in attempts:
        with pytest.raises(Tampered):
            unseal(where, owner, attempt)
    assert unseal(device, "webhook/1", blob) == b"a webhook secret"


def test_it_finds_out_what_it_can_do_and_passes_its_own_test(device: Device, able: Capabilities) -> None:
    assert device.describe().capabilities == able
    device.self_test()
    device.recover()
    assert not device.hopeless


def test_what_it_cannot_do_it_says(device: Device, able: Capabilities) -> None:
    """Each capability that is missing is refused as such, and everything else still works."""
    acts: list[tuple[bool, Callable[[], object]]] = [
        (able.wrap is not None, lambda: device.generate_key(fresh_id(), KeyKind.RSA_2048, Custody.WRAPPED)),
        (able.seal, lambda: seal(device, "owner", b"secret")),
        (able.ecdsa, lambda: device.generate_key(fresh_id(), KeyKind.P256, Custody.TOKEN)),
        (able.checkpoints, lambda: device.sign_checkpoint(b"checkpoint")),
        (able.checkpoints, device.checkpoint_key),
    ]
    for act in (act for can, act in acts if not can):
        with pytest.raises(Unsupported):
            act()
    device.self_test()


def test_a_seed_rests_outside_only_where_it_can_be_wrapped(device: Device, able: Capabilities) -> None:
    secret, seed = device.generate_seed(fresh_id())
    assert bool(secret.blob) == (able.wrap is not None)
    assert seed not in secret.blob
    with pytest.raises(KeyNotFound):
        device.hmac_sha1(SecretRef(fresh_id(), b""), b"message")


def test_no_secret_of_ours_is_taken_for_a_seed(device: Device) -> None:
    """A row that names the key of the rows' MACs, or the wrapping key, gets no HMAC of it."""
    for service in ServiceKey:
        with pytest.raises(KeyNotFound):
            device.hmac_sha1(SecretRef(service.key_id, b""), b"message")

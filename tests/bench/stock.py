"""Stock pyHanko: `sign_pdf` in a loop with the key in SoftHSM, in a process of its own for each core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.bench import paper
from tests.bench.figures import Figure, quantile
from tests.bench.short import QUICK
from tests.support import softhsm

KINDS = {"p256": "p-256", "rsa": "rsa-2048"}
SECONDS = 0.3 if QUICK else 5.0
ROOT = Path(__file__).parents[2]


def measure(directory: Path) -> Iterator[Figure]:
    files = paper.files(directory)
    softhsm.device()
    for name, kind in KINDS.items():
        for size in ("small", "1mb") if name == "p256" else ("small",):
            each = _run(kind, files[size])
            taken = [seconds for one in each for seconds in one["taken"]]
            rate = sum(len(one["taken"]) / one["seconds"] for one in each)
            cpu = sum(one["cpu"] for one in each) / len(taken) * 1000
            what = f"stock pyHanko, {kind}, B-B, {paper.TOLD[size]}, {len(each)} processes"
            yield Figure(f"stock-{name}-{size}", what, rate, quantile(taken, 0.5) * 1000, quantile(taken, 0.99) * 1000,
                         {"python": cpu})


def _run(kind: str, file: Path) -> list[dict[str, Any]]:
    settings = softhsm.settings()
    environment = {**os.environ, "SOFTHSM2_CONF": str(settings.softhsm_conf), "PYTHONPATH": str(ROOT),
                   "BENCH_QUICK": "1" if QUICK else "0"}
    command = [sys.executable, "-m", "tests.bench.stock", str(settings.module), settings.token, kind, str(file)]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
               for _ in range(os.cpu_count() or 1)]
    told = [each.communicate()[0] for each in running]
    if any(each.returncode for each in running):
        raise RuntimeError("stock pyHanko did not end well")
    return [json.loads(each) for each in told]


def loop(module: str, token: str, kind: str, file: Path) -> dict[str, Any]:
    """What `measure` starts for each core: times of single signatures, and the CPU of all of them."""
    import pkcs11
    from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
    from pyhanko.sign import fields, signers
    from pyhanko.sign.pkcs11 import PKCS11Signer

    session = pkcs11.lib(module).get_token(token_label=token).open(user_pin=softhsm.PIN, rw=True)
    label = f"stock-{os.getpid()}"
    certificate = _keys(session, kind, label)
    signer = PKCS11Signer(session, signing_cert=certificate, key_label=label, use_raw_mechanism=kind == "p-256")
    metadata = signers.PdfSignatureMetadata(
        field_name="Signature", subfilter=fields.SigSeedSubFilter.PADES, md_algorithm="sha256")

    def sign() -> float:
        begun = time.perf_counter()
        writer = IncrementalPdfFileWriter(BytesIO(file.read_bytes()))
        signers.sign_pdf(writer, metadata, signer=signer, output=BytesIO())
        return time.perf_counter() - begun

    sign()
    spent, begun = time.process_time(), time.perf_counter()
    taken = []
    while time.perf_counter() - begun < SECONDS:
        taken.append(sign())
    return {"taken": taken, "seconds": time.perf_counter() - begun, "cpu": time.process_time() - spent}


def _keys(session: Any, kind: str, label: str) -> Any:
    """A key pair of this session, and a certificate for it by an authority of the tests'."""
    import pkcs11
    from asn1crypto import x509
    from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
    from pkcs11.util.rsa import encode_rsa_public_key

    from tests.support.ca import TestCa

    if kind == "p-256":
        curve = session.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True)
        public, _ = curve.generate_keypair(label=label, store=False)
        encoded = encode_ec_public_key(public)
    else:
        public, _ = session.generate_keypair(pkcs11.KeyType.RSA, 2048, label=label, store=False)
        encoded = _spki(encode_rsa_public_key(public))
    return x509.Certificate.load(TestCa().issue(encoded, "Stock"))


def _spki(key: bytes) -> bytes:
    from asn1crypto import keys

    return bytes(keys.PublicKeyInfo.wrap(keys.RSAPublicKey.load(key), "rsa").dump())


if __name__ == "__main__":
    print(json.dumps(loop(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))))

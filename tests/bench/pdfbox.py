"""PDFBox and BouncyCastle, as Debian packs them, in a warm JVM: one thread a core, the same device, the same files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from tests.bench import paper
from tests.bench.figures import Figure
from tests.bench.short import QUICK
from tests.support import softhsm

JARS = [Path("/usr/share/java") / f"{name}.jar"
        for name in ("pdfbox2", "fontbox2", "bcpkix", "bcprov", "bcutil", "commons-logging")]
KINDS = {"p256": "p-256", "rsa": "rsa-2048"}
WARM, SECONDS = ("0.3", "0.3") if QUICK else ("6", "8")


def measure(directory: Path) -> Iterator[Figure]:
    """Nothing, said aloud, where Java or the libraries are missing."""
    if missing := [str(each) for each in (Path("/usr/bin/javac"), *JARS) if not each.exists()]:
        print(f"pdfbox: left out, there is no {', '.join(missing)} "
              "(default-jdk-headless, libpdfbox2-java, libbcpkix-java)")
        return
    _compile(directory)
    files = paper.files(directory)
    for name, kind in KINDS.items():
        for size, line in zip(files, _run(directory, kind, list(files.values())), strict=True):
            count, seconds, p50, p99, cpu = (float(each) for each in line.split())
            what = f"PDFBox + BouncyCastle, {kind}, B-B, {paper.TOLD[size]}, {os.cpu_count()} threads"
            yield Figure(f"pdfbox-{name}-{size}", what, count / seconds, p50, p99, {"java": cpu / count * 1000})
            check(directory / f"signed-{size}.pdf")


def _compile(directory: Path) -> None:
    source = Path(__file__).with_name("PdfBoxLoop.java")
    subprocess.run(["javac", "-proc:none", "-cp", _classpath(), "-d", directory, source], check=True)


def _classpath(*more: Path) -> str:
    return ":".join(map(str, (*more, *JARS)))


def _run(directory: Path, kind: str, files: list[Path]) -> list[str]:
    settings = softhsm.settings()
    configuration = directory / "pkcs11.cfg"
    slot = softhsm.device().describe().slot
    configuration.write_text(f"name = SoftHSM\nlibrary = {settings.module}\nslot = {slot}\n")
    command = ["java", "-Xmx1g", "-Dorg.apache.commons.logging.Log=org.apache.commons.logging.impl.NoOpLog",
               "-cp", _classpath(directory), "PdfBoxLoop", configuration, softhsm.PIN, kind,
               str(os.cpu_count()), WARM, SECONDS, directory / "signed", *files]
    environment = {**os.environ, "SOFTHSM2_CONF": str(settings.softhsm_conf)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.splitlines()


def check(signed: Path) -> None:
    """It is a signature over the whole file, made with the key of its certificate."""
    found = PdfFileReader(BytesIO(signed.read_bytes())).embedded_signatures[0]
    status = validate_pdf_signature(found, ValidationContext(trust_roots=[found.signer_cert], allow_fetching=False))
    if not (status.intact and status.valid and found.coverage is not None):
        raise AssertionError(f"{signed.name}: {status.summary()}")

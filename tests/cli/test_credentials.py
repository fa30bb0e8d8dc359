from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.terminal import Terminal


@pytest.fixture
def credential(terminal: Terminal) -> str:
    """A personal credential whose key was made."""
    made: str = terminal.asks("credential", "add", "--agency", "H26.1", "--signatory", terminal.signatory())["id"]
    assert terminal.asks("credential", "wait", made)["state"] == "key-ready"
    return made


@pytest.fixture
def ca(terminal: Terminal, tmp_path: Path) -> str:
    terminal("development", "ca", "init", "--directory", str(tmp_path / "ca"))
    return str(tmp_path / "ca")


def certified(terminal: Terminal, credential: str, ca: str, tmp_path: Path, *more: str) -> Path:
    request, issued = tmp_path / f"{credential}.csr", tmp_path / f"{credential}.pem"
    terminal("credential", "csr", credential, "--out", str(request))
    terminal("development", "ca", "issue", str(request), "--out", str(issued), "--directory", ca, *more)
    return issued


def test_from_a_name_to_a_credential_that_signs(terminal: Terminal, credential: str, ca: str, tmp_path: Path) -> None:
    issued = certified(terminal, credential, ca, tmp_path)
    imported = terminal.asks("credential", "import", credential, str(issued))
    assert imported["subject"] == "C=VN,O=Phường Ba Đình,CN=Nguyễn Văn An (DEVELOPMENT ONLY)"
    assert "DEVELOPMENT ONLY" in imported["root"]
    shown = terminal.asks("credential", "show", credential)
    assert shown["state"] == "active"
    certificate = x509.load_pem_x509_certificate(issued.read_bytes())
    assert (shown["serial"], shown["fingerprint"]) == (
        f"{certificate.serial_number:x}", certificate.fingerprint(SHA256()).hex())


def test_the_person_sees_the_roots_fingerprint_before_the_code_is_spent(
    terminal: Terminal, credential: str, ca: str, tmp_path: Path
) -> None:
    issued = certified(terminal, credential, ca, tmp_path)
    refused = terminal("credential", "import", credential, str(issued), code="000000", exits=3)
    root = x509.load_pem_x509_certificates(issued.read_bytes())[-1]
    assert root.fingerprint(SHA256()).hex() in refused.out


def test_a_certificate_of_another_key_is_refused_by_name(
    terminal: Terminal, credential: str, ca: str, tmp_path: Path
) -> None:
    other = terminal.asks("credential", "add", "--agency", "H26.1", "--signatory", "CB-1")["id"]
    terminal("credential", "wait", other)
    issued = certified(terminal, other, ca, tmp_path)
    assert "another" in terminal("credential", "import", credential, str(issued), exits=2).err


def test_a_timestamp_authority_needs_a_certificate_for_that(terminal: Terminal, ca: str, tmp_path: Path) -> None:
    made = terminal.asks("credential", "add", "--agency", "H26", "--kind", "timestamp", "--custody", "token")["id"]
    terminal("credential", "wait", made)
    for_documents = certified(terminal, made, ca, tmp_path)
    assert "timeStamping" in terminal("credential", "import", made, str(for_documents), exits=2).err
    for_timestamps = certified(terminal, made, ca, tmp_path, "--timestamping")
    terminal("credential", "import", made, str(for_timestamps))


def test_the_life_of_a_credential(terminal: Terminal, credential: str, ca: str, tmp_path: Path) -> None:
    terminal("credential", "import", credential, str(certified(terminal, credential, ca, tmp_path)))
    terminal("credential", "suspend", credential, "--reason", "on leave")
    terminal("credential", "resume", credential)
    terminal("credential", "destroy-key", credential, exits=6)
    terminal("credential", "revoke", credential, "--reason", "left the agency")
    terminal("credential", "resume", credential, exits=6)
    terminal("credential", "destroy-key", credential)
    assert terminal.asks("credential", "show", credential)["state"] == "key-destroyed"


def test_a_renewed_credential_takes_the_place_of_the_old_one(
    terminal: Terminal, credential: str, ca: str, tmp_path: Path
) -> None:
    terminal("credential", "import", credential, str(certified(terminal, credential, ca, tmp_path)))
    renewed = terminal.asks("credential", "renew", credential)["id"]
    terminal("credential", "wait", renewed)
    terminal("credential", "import", renewed, str(certified(terminal, renewed, ca, tmp_path)))
    states = {each["id"]: each["state"] for each in terminal.asks("credential", "list", "--signatory", "CB-1")}
    assert states[renewed] == "active"
    assert states[credential] != "active"


def test_a_request_names_what_it_was_told_to_name(terminal: Terminal, credential: str) -> None:
    pem = terminal("credential", "csr", credential, "--subject", "CN=Nguyễn Văn An", "--subject", "O=UBND",
                   "--subject", "C=VN").out
    request = x509.load_pem_x509_csr(pem.encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "C=VN,O=UBND,CN=Nguyễn Văn An"


WRONG = {
    "a subject that is not one": (("credential", "csr", "{cr}", "--subject", "Nguyễn"), 2),
    "a credential that is not there": (("credential", "show", "cr_" + "0" * 32), 5),
    "a key of no kind": (("credential", "add", "--agency", "H26.1", "--signatory", "CB-1", "--key", "rsa-512"), 2),
    "a signatory that is not there": (("credential", "add", "--agency", "H26.1", "--signatory", "CB-9"), 5),
    "a file that is not there": (("credential", "import", "{cr}", "/nowhere.pem"), 2),
    "a file that is no certificate": (("credential", "import", "{cr}", "pyproject.toml"), 2),
}


@pytest.mark.parametrize(("words", "exits"), WRONG.values(), ids=WRONG.keys())
def test_refused(terminal: Terminal, credential: str, words: tuple[str, ...], exits: int) -> None:
    terminal(*(word.replace("{cr}", credential) for word in words), exits=exits)


def test_the_development_ca_refuses_on_a_real_server(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SIGNING_PROFILE", "production")
    assert "development" in terminal("development", "ca", "init", "--directory", str(tmp_path / "x"), exits=6).err
    assert not (tmp_path / "x").exists()


def test_the_development_ca_never_loses_its_key(terminal: Terminal, ca: str) -> None:
    terminal("development", "ca", "init", "--directory", ca, exits=6)
    assert (Path(ca) / "ca.key").stat().st_mode & 0o077 == 0

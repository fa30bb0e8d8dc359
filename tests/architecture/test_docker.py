"""What can be said of the container files without an engine: they name things that exist, and no secrets."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic_settings import BaseSettings
from typer.core import TyperGroup
from typer.main import get_command

from signing_service import metrics
from signing_service.cli.main import app
from signing_service.front.settings import FrontSettings
from signing_service.signer.settings import SignerSettings
from tests.support import plain_yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
YAML = sorted(DOCKER.glob("*.yaml")) + sorted(DOCKER.glob("*.yml"))
TEXTS = [path for path in sorted(DOCKER.iterdir()) if path.is_file()]
LABELS_OF_PROMETHEUS = {"le", "job"}


def read(name: str) -> Any:
    return plain_yaml.read((DOCKER / name).read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        if found:
            found[list(found)[-1]].append((word, rest))
    return found


def services() -> dict[str, Any]:
    return dict(read("compose.yaml")["services"])


# ------------------------------------------------------------------------------------------------ the Dockerfile


def test_every_image_starts_from_one_pinned_python() -> None:
    pins = [rest for word, rest in instructions() if word == "ARG"]
    assert pins == ["PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm"]
    sources = {rest.split(" AS ")[0] for word, rest in instructions() if word == "FROM"}
    assert sources == {"${PYTHON_IMAGE}", "runtime-base"}


def test_an_image_without_a_target_is_the_production_one() -> None:
    assert list(stages())[-1] == "runtime"


def test_the_production_image_has_no_software_token() -> None:
    made_of = [*stages()["build"], *stages()["runtime-base"], *stages()["runtime"]]
    assert not [rest for _, rest in made_of if "softhsm" in rest.lower()]
    assert [rest for _, rest in stages()["development"] if "softhsm2" in rest]


@pytest.mark.parametrize("stage", ["runtime", "development"])
def test_an_image_does_not_run_as_root(stage: str) -> None:
    assert [rest for word, rest in stages()[stage] if word == "USER"] == ["10001:10000"]


def test_the_entrypoint_is_our_command() -> None:
    [entry] = [rest for word, rest in instructions() if word == "ENTRYPOINT"]
    assert json.loads(entry) == ["signing-service"]
    assert 'signing-service = "' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_everything_that_is_installed_is_installed_by_hash_or_without_any_index() -> None:
    installs = [part for _, rest in instructions() for part in rest.split("&&") if "pip install" in part]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    sent = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for word, rest in stages()["build"]:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert f"!{source}" in sent
    assert {line[1:] for line in sent if line.startswith("!")} >= {"pyproject.toml", "requirements.lock"}
    assert not [line[1:] for line in sent if line.startswith("!") and not (ROOT / line[1:]).exists()]


# ------------------------------------------------------------------------------------- the lock without test tools


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime_lock", DOCKER / "runtime_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts() -> tuple[str, str]:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return pyproject, (ROOT / "requirements.lock").read_text(encoding="utf-8")


def locked() -> set[str]:
    chosen = script().runtime_lock(*texts())
    return {canonicalize_name(name) for name in re.findall(r"(?m)^([A-Za-z0-9._-]+)==", chosen)}


def needs(name: str, extras: set[str]) -> Iterator[tuple[str, set[str]]]:
    for line in importlib.metadata.requires(name) or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ({""} | extras)):
            yield canonicalize_name(need.name), set(need.extras)


def test_the_production_lock_has_what_the_project_needs_and_what_that_needs() -> None:
    waiting = [Requirement(line) for line in script().tomllib.loads(texts()[0])["project"]["dependencies"]]
    todo = [(canonicalize_name(need.name), set(need.extras)) for need in waiting]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, extras = todo.pop()
        assert name in locked()
        if (name, frozenset(extras)) not in seen:
            seen.add((name, frozenset(extras)))
            todo += needs(name, extras)


def test_the_production_lock_has_no_test_tools() -> None:
    assert not locked() & {"pytest", "hypothesis", "mypy", "ruff", "pikepdf", "reportlab", "coverage", "import-linter"}


def test_every_package_of_the_production_lock_keeps_its_hashes() -> None:
    chosen = script().runtime_lock(*texts())
    assert chosen.count("==") >= 30
    for block in re.split(r"(?m)^(?=[A-Za-z0-9])", chosen)[1:]:
        assert "--hash=sha256:" in block
        assert block in texts()[1]


def test_a_dependency_that_is_not_locked_stops_the_build() -> None:
    pyproject = '[project]\ndependencies = ["nowhere>=1"]'
    with pytest.raises(KeyError, match="nowhere is not in the lock"):
        script().runtime_lock(pyproject, texts()[1])


# ------------------------------------------------------------------------------------------------------ compose


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_plain_enough_to_mean_one_thing(path: Path) -> None:
    assert plain_yaml.read(path.read_text(encoding="utf-8"))


NOT_PLAIN = {
    "a tab": "a:\n\tb: 1",
    "a key twice": "a: 1\na: 2",
    "a folded text": "a: >\n  b",
    "an anchor": "a: &b 1",
    "an odd indentation": "a:\n   b: 1",
    "a bare text with a colon inside": "a: b: c",
    "a key without a value": "a:\nb: 1",
    "a quote that does not end": "a: 'b",
}


@pytest.mark.parametrize("text", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_yaml_that_could_be_misread_is_refused(text: str) -> None:
    with pytest.raises(plain_yaml.NotPlain):
        plain_yaml.read(text)


def test_compose_has_both_halves_a_database_and_something_that_watches() -> None:
    both = {"signer", "front", "jobs"}
    assert set(services()) == both | {"postgres", "migrate", "roles", "operator", "prometheus"}


@pytest.mark.parametrize("name", ["signer", "front", "jobs"])
def test_neither_half_starts_before_the_wall_between_them_stands(name: str) -> None:
    assert services()[name]["depends_on"] == {"roles": {"condition": "service_completed_successfully"}}
    assert services()["roles"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def commands() -> list[list[str]]:
    every = {**services(), **{f"{name} (development)": service for name, service in
                              read("compose.development.yaml")["services"].items()}}
    return [service["command"] for service in every.values() if "command" in service]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_a_container_exists(command: list[str]) -> None:
    found = get_command(app)
    words = [word for word in command if not word.startswith(("-", "/"))]
    for word in words:
        assert isinstance(found, TyperGroup)
        found = found.commands[word]
    options = {option for parameter in found.params for option in parameter.opts}
    assert {word.split("=")[0] for word in command if word.startswith("-")} <= options
    assert all(parameter.default is not None or not parameter.required for parameter in found.params
               if parameter.param_type_name == "option")


def settings_of(name: str) -> set[str]:
    images = {word.split("=")[0] for kind, rest in stages()["runtime-base"] if kind == "ENV" for word in rest.split()}
    return {word for word in images | set(services()[name]["environment"]) if word.startswith("SIGNING_")}


@pytest.mark.parametrize(
    ("name", "kind"), [("front", FrontSettings), ("jobs", FrontSettings), ("operator", FrontSettings),
                       ("signer", SignerSettings)],
)
def test_a_container_is_told_every_setting_that_has_no_default(name: str, kind: type[BaseSettings]) -> None:
    required = {f"SIGNING_{field.upper()}" for field, facts in kind.model_fields.items() if facts.is_required()}
    assert required <= settings_of(name)
    known = {f"SIGNING_{field.upper()}" for half in (FrontSettings, SignerSettings) for field in half.model_fields}
    assert settings_of(name) - known <= {"SIGNING_OPERATOR"}


@pytest.mark.parametrize("kind", ["secrets", "networks", "volumes"])
def test_what_a_service_uses_is_declared(kind: str) -> None:
    declared = set(read("compose.yaml")[kind])
    used = {entry.split(":")[0] for service in services().values() for entry in service.get(kind, ())}
    assert {name for name in used if not name.startswith((".", "$"))} <= declared
    assert declared <= used


def test_files_that_compose_mounts_exist() -> None:
    mounts = [entry.split(":")[0] for service in services().values() for entry in service.get("volumes", ())]
    assert [name for name in mounts if name.startswith("./")]
    assert not [name for name in mounts if name.startswith("./") and not (DOCKER / name).exists()]


def test_only_the_signer_has_the_pin_and_its_only_network_has_no_way_out() -> None:
    holders = {name for name, service in services().items() if "pin" in service.get("secrets", ())}
    assert holders == {"signer"}
    assert services()["signer"]["networks"] == ["data"]
    assert read("compose.yaml")["networks"]["data"] == {"internal": True}
    assert "ports" not in services()["signer"]


def test_the_front_reaches_one_socket_of_the_signer_and_cannot_replace_it() -> None:
    for name in ("front", "jobs"):
        runs = [entry for entry in services()[name]["volumes"] if entry.startswith("run-")]
        assert runs == ["run-sign:/run/signing-service/sign:ro"]


@pytest.mark.parametrize("name", ["migrate", "roles", "signer", "front", "jobs", "operator"])
def test_our_containers_have_no_privileges(name: str) -> None:
    service = services()[name]
    assert service["user"] in ("10001:10000", "10002:10000")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_outside_images_are_pinned() -> None:
    images = [service["image"] for service in services().values()]
    outside = [image for image in images if not image.startswith("signing-service:")]
    assert len(outside) == 2
    for image in outside:
        assert re.fullmatch(r"docker\.io/\S+:v?[0-9]+\.[0-9]+\S*", image)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_secret_stands_in_the_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"-----BEGIN|://[^/\s:@]+:[^@\s]+@", text)
    for line in text.splitlines():
        named = re.search(r"(?i)(password|pin|secret|token)[\w]*[:=]\s*[\"']?([^\s\"']+)", line)
        if named and not line.lstrip().startswith("#"):
            assert re.match(r"/|\$?\{|\./secrets/|\[|true", named[2]), line


def test_every_secret_is_a_file() -> None:
    for name, secret in read("compose.yaml")["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}


# ------------------------------------------------------------------------------------------------------ watching


def declared() -> dict[str, set[str]]:
    """Every series that /metrics shows, by name, with its labels."""
    found: dict[str, set[str]] = {}
    for family in vars(metrics).values():
        if hasattr(family, "_labelnames") and hasattr(family, "describe"):
            [described] = family.describe()
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(described.type, [""])
            found |= {described.name + suffix: set(family._labelnames) for suffix in suffixes}
    return found


def families() -> set[str]:
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in declared()}


def expressions() -> list[str]:
    rules = [rule for group in read("alerts.yml")["groups"] for rule in group["rules"]]
    board = json.loads((DOCKER / "grafana-dashboard.json").read_text(encoding="utf-8"))
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + [target["expr"] for target in targets]


@pytest.mark.parametrize("expression", expressions())
def test_what_is_watched_is_measured_with_those_labels(expression: str) -> None:
    names = re.findall(r"\b(?:signing_\w+|up\b)", expression)
    assert names
    known = declared() | {"up": set()}
    assert not [name for name in names if name not in known]
    labels = set(re.findall(r"(\w+)(?:=~|=|!=)\"", expression))
    labels |= {word.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for word in by.split(",")}
    assert labels <= set().union(*(known[name] for name in names)) | LABELS_OF_PROMETHEUS


def test_everything_that_is_measured_is_shown() -> None:
    shown = " ".join(expressions())
    assert not [family for family in families() if family not in shown]


def test_every_metric_says_what_it_means() -> None:
    source = (ROOT / "signing_service" / "metrics.py").read_text(encoding="utf-8")
    definitions = re.findall(r'(?ms)^[A-Z_]+ = (?:Counter|Gauge|Histogram)\(.*?\n\)\n(""")?', source)
    assert len(definitions) == len(families())
    assert all(definitions)


def test_every_alert_says_what_it_means_for_people() -> None:
    for group in read("alerts.yml")["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "meaning"}
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_prometheus_reads_the_alerts_and_asks_the_front() -> None:
    settings = read("prometheus.yml")
    mounted = [entry.split(":")[1] for entry in services()["prometheus"]["volumes"]]
    assert set(settings["rule_files"]) <= set(mounted)
    [scraped] = settings["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": ["front:8080"]}]
    assert services()["front"]["environment"]["SIGNING_LISTEN_PORT"] == "8080"

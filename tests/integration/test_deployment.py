"""The Dockerfile, docker-compose.yml and the unit for systemd, as far as they can be judged without their engines.

The build's steps are run by hand, in a folder that holds nothing but what the Dockerfile copies; what comes out is
started as the image would start it.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from compose_spec import PyCompose
from tests.fakes.ports import kept_ports
from tests.fakes.postgres import scratch
from tests.fakes.server_process import READY
from tests.fakes.tools import needs
from tests.tidy.source import ROOT

from flashq.config import from_environment

COMPOSE: Final = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def stages() -> list[list[Step]]:
    """The instructions of the Dockerfile, stage by stage."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: list[list[Step]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip():
            step = Step(*line.split(maxsplit=1))
            if step.word == "FROM":
                found.append([])
            found[-1].append(step)
    return found


def the(word: str, stage: list[Step]) -> str:
    """The rest of the one instruction of a kind."""
    [found] = [step.rest for step in stage if step.word == word]
    return found


def copied() -> list[str]:
    """What the build takes from the checkout."""
    build, image = stages()
    assert all(step.rest.startswith("--from=build ") for step in image if step.word == "COPY")
    return [source for step in build if step.word == "COPY" for source in step.rest.split()[:-1]]


def services() -> dict[str, dict[str, Any]]:
    """The services, read by the specification's rules: an unknown word is an error."""
    compose = PyCompose.from_yaml(COMPOSE)
    compose.validate()
    found: dict[str, dict[str, Any]] = compose.to_dict()["services"]
    return found


def test_the_dockerfile_is_clean() -> None:
    """Hadolint, with the shell of each step, finds nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_builder_sees_what_it_copies_and_nothing_else() -> None:
    """No data, no secret and no history of the checkout reaches the builder."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert sorted(rule[1:] for rule in rules if rule.startswith("!")) == sorted(copied())


def test_the_image_runs_without_rights() -> None:
    """Not as root, as process 1 without a shell, with its data on a volume that belongs to the user."""
    _, image = stages()
    assert the("USER", image) == "10001:10001"
    assert the("VOLUME", image) == "/data"
    assert "--owner=flashq" in the("RUN", image)
    assert (the("ENTRYPOINT", image), the("CMD", image)) == ('["flashq"]', '["serve"]')


def test_every_variable_of_compose_is_in_the_example() -> None:
    """Who copies .env.example and fills it in has set all there is to set, and it holds no secret itself."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assigned = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == set(assigned)
    assert set(assigned.values()) == {""}
    assert not re.search(r"\$\{\w+\}", COMPOSE), "one that is not set would be empty: say :? or :-"


def test_compose_publishes_to_this_machine_only() -> None:
    """A server is not on the network because somebody tried it out; the database is nowhere but inside."""
    found = services()
    assert all(port.startswith("127.0.0.1:") for port in found["flashq"]["ports"])
    assert "ports" not in found["postgres"]


def test_compose_starts_the_database_first() -> None:
    """The server waits until PostgreSQL answers, and finds it by the name of its service."""
    found = services()
    assert found["flashq"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert found["postgres"]["healthcheck"]["test"][1] == "pg_isready"
    config = from_environment({**found["flashq"]["environment"], "AUTH_TOKENS": "x" * 32})
    assert "@postgres:5432/" in config.database_url


def test_what_compose_keeps_is_on_volumes() -> None:
    """Every volume that is used is declared, and each service has one for its data."""
    found = services()
    used = {volume.split(":")[0] for service in found.values() for volume in service["volumes"]}
    assert used == set(PyCompose.from_yaml(COMPOSE).to_dict()["volumes"])
    assert found["flashq"]["volumes"] == ["flashq-data:/data"]


def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path) -> None:
    """The unit of the page on deployment holds no word that systemd would ignore."""
    needs(shutil.which("systemd-analyze") is not None, "systemd-analyze")
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^# flashq\.service\n.*?(?=^```)", page, re.MULTILINE | re.DOTALL)
    unit = tmp_path / "flashq.service"
    unit.write_text(text.replace("/opt/flashq/bin", str(Path(sys.executable).parent)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The steps of the build, run by hand. Gives the folder in which /opt/flashq and /data are."""
    with scratch() as folder:
        sources = folder / "src"
        sources.mkdir()
        for name in copied():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, sources / name)
        for step in stages()[0]:
            if step.word == "RUN":
                # The path of the image is that of the folder: what is installed knows where it is.
                command = step.rest.replace("/opt/flashq", f"{folder}/opt")
                environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
                subprocess.run(command, shell=True, check=True, cwd=sources, env=environment, capture_output=True)
        shutil.rmtree(sources)
        yield folder


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_built_serves(image: Path) -> None:
    """Started as the image starts it: it is healthy, keeps its data, and stops with 0."""
    _, last = stages()
    data = image / "data"
    data.mkdir(mode=0o700)
    rights = _rights(int(the("USER", last).split(":")[0]))
    if rights:
        os.chown(data, rights["user"], rights["group"])
    environment = dict(pair.split("=", 1) for pair in shlex.split(the("ENV", last)))
    environment |= {"PATH": f"{image}/opt/bin:/usr/bin:/bin", "DATA_DIR": str(data)}
    environment |= {"HOST": "127.0.0.1", **kept_ports(), "AUTH_TOKENS": "a-token-of-more-than-16"}  # docker run --env
    command = [*_words(the("ENTRYPOINT", last)), *_words(the("CMD", last))]
    running: dict[str, Any] = {"env": environment, "cwd": data, **rights}
    # Looked up by the path of the image, which is not that of the tests.
    program = shutil.which(command[0], path=environment["PATH"])
    assert program == f"{image}/opt/bin/flashq"
    with subprocess.Popen([program, *command[1:]], stdout=subprocess.PIPE, text=True, **running) as server:
        assert server.stdout is not None
        ready = READY.fullmatch(server.stdout.readline())
        assert ready is not None
        check = _words(the("HEALTHCHECK", last).partition("CMD ")[2])
        environment["FLASHQ_URL"] = f"flashq://127.0.0.1:{ready[2]}"
        assert subprocess.run(check, **running).returncode == 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert subprocess.run(check, **running).returncode != 0
    assert (data / "flashq.db").stat().st_uid == data.stat().st_uid


def _rights(user: int) -> dict[str, Any]:
    """To run a program as somebody else: only root may, and only if the other one can reach this Python."""
    if os.geteuid() != 0:
        return {}
    rights: dict[str, Any] = {"user": user, "group": user, "extra_groups": ()}
    try:
        subprocess.run([Path(sys.executable).resolve(), "-V"], check=True, cwd="/", capture_output=True, **rights)
    except PermissionError:
        return {}
    return rights


def _words(array: str) -> list[str]:
    """The words of an instruction in its exec form."""
    assert array.startswith("[")
    return [word.strip('"') for word in re.findall(r'"[^"]*"', array)]

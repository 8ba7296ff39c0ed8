"""The description against a real server: whatever it allows and forbids is sent, and every answer is as it says.

Schemathesis makes requests of the description, right ones and wrong ones, and looks at status, headers and body of each
answer. Left out is what would end the server (``/server``), never ends (``/events``, ``/ws``) or can do both
(``/commands``), and a check: that whatever fits the description is accepted. Whether a schedule can be
read or a URL may be called no schema can say.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq.transports.http.openapi import describe

TOKEN: Final = "a-token-that-nobody-guesses"
LEFT_OUT: Final = ("/server", "/commands", "/events", "/ws")
WAIT_MS: Final = 5
"""A pull waits no longer: the description allows ten years."""

UNCHECKED: Final = [positive_data_acceptance, ignored_auth]
"""The second guesses tokens until the server takes no more guesses; a test below asks once for each operation."""

OPERATIONS: Final = [
    (method, path)
    for path, methods in describe(secured=False)["paths"].items()
    for method in methods
    if not path.startswith(LEFT_OUT)
]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["open", "secured"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description that a server gives, bound to that server."""
    secured = request.param == "secured"
    environment = {"AUTH_TOKENS": TOKEN} if secured else {}
    with ServerProcess(tmp_path_factory.mktemp("http"), url=MEMORY, environment=environment) as server:
        with HttpClient(server.http_port, TOKEN) as web:
            description = web.ask("GET", "/openapi.json").json
        schema = schemathesis.openapi.from_dict(description)
        schema.config.update(base_url=f"http://127.0.0.1:{server.http_port}")
        schema.config.update(headers={"Authorization": f"Bearer {TOKEN}"} if secured else {})
        yield schema


def _try(api: Any, method: str, path: str, mode: GenerationMode, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        for members in (case.query, case.body):
            if isinstance(members, dict) and str(members.get("timeout", "")).lstrip("-").isdigit():
                members["timeout"] = min(int(members["timeout"]), WAIT_MS)
            elif isinstance(members, dict) and "/pull" in path and members.get("timeout", 0) is None:
                members["timeout"] = WAIT_MS  # null waits for ever
        case.call_and_validate(timeout=20, excluded_checks=UNCHECKED)

    try:
        run()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # what has no members cannot be asked wrongly


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_requests_right_and_wrong(api: Any, method: str, path: str, mode: GenerationMode) -> None:
    """No fault of the server, no status, header or body that is not described, nothing forbidden that is accepted."""
    _try(api, method, path, mode, 50)


@pytest.mark.parametrize("api", ["secured"], indirect=True)
def test_every_operation_asks_for_the_token(api: Any) -> None:
    """Without one each is refused as unauthorized, but for the question whether the server lives."""
    port = int(api.config.base_url.rpartition(":")[2])
    with HttpClient(port) as web:
        statuses = {(method, path): web.ask(method.upper(), path).status for method, path in OPERATIONS}
    assert {place for place, status in statuses.items() if status != 401} == {("get", "/health")}

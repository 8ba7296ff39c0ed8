"""The commands of docs/operations.md, on what a server has left."""

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.server_process import ServerProcess
from tests.tidy.guide import blocks
from tests.tidy.source import ROOT


def test_the_page_is_true(tmp_path: Path) -> None:
    """Each command ends well when they are typed in their order."""
    with ServerProcess(tmp_path) as process:
        with process.client() as client:
            client.ok("PUSHB", queue="emails", jobs=[{"data": number} for number in range(20)])
        assert process.stop() == 0
    process.data.rename(tmp_path / "flashq-data")
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = [line for block in blocks(page) if block.kind == "shell" for line in block.body.splitlines()]
    assert len(commands) >= 6
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=tmp_path,
            env={"PATH": path},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (command, done)
    assert done.stdout == b"20\n"

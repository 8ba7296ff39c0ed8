"""The README and all of docs/ are played: what a reader would type is typed, and what the page shows is compared.

The rules for a page, in the order in which its blocks stand:

- All happens in one empty folder, against one server that remembers nothing. ``FLASHQ_URL`` names it, and wherever a
  block says 6789, its port stands instead; so ``FlashQ()`` and ``flashq://localhost:6789`` both reach it. In place of
  6790 stands the port of its HTTP door.
- A block whose first line is a comment with a file's name (``# tasks.py``, ``# pyproject.toml``) is written to that
  file, whatever its language. A file ``test_*.py`` is then run by pytest (asyncio's mode is auto) and must pass; any
  other ``.py`` must compile and is run by whoever imports it.
- A ``python`` block without a name is run. All of a page share one interpreter, names included, and may use ``await``
  at the top level. An exception fails the test, and so does a warning (but for one about an unclosed connection).
- Each line of a ``shell`` block is a command (a leading ``$ `` is taken off, a backslash at the end joins lines) and
  must end with exit code 0. ``flashq worker ...`` and lines that end with ``&`` are left running until the page ends;
  ``flashq dev ...`` stands for its worker; ``flashq serve``, ``pip install`` and their like are skipped.
  Where there is no ``curl``, a small one of ours takes its place.
- An ``output`` block is what the block before it printed (stdout and stderr), line ends aside; ``…`` stands for
  anything.
- ``<!-- not run: REASON -->`` on the line above a fence excuses the block. Blocks of other kinds (``text``, ``sh``,
  ``json`` ...) are only shown.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.server_process import MEMORY, ServerProcess
from tests.tidy.guide import CURL, Stage, blocks, runs
from tests.tidy.source import ROOT, name_of

PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if any(map(runs, blocks(path.read_text(encoding="utf-8"))))
]


def _play(text: str, folder: Path, page: str = "page.md") -> None:
    with ServerProcess(folder / "server", url=MEMORY) as server:
        played = folder / "played"
        played.mkdir()
        with Stage(played, server.port, page, server.http_port) as stage:
            stage.play(blocks(text))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page(page: Path, tmp_path: Path) -> None:
    """What the page shows works when it is typed as it stands there."""
    _play(page.read_text(encoding="utf-8"), tmp_path, name_of(page))


GOOD = """
# A page

```python
# mine.py
WHAT = "job"
```

```python
import flashq, mine
id = flashq.FlashQ("flashq://localhost:6789").push("mail", mine.WHAT)
async with flashq.AsyncFlashQ() as q:
    print("state", await q.state(id), id)
```

```output
state waiting …
```

```shell
pip install nothing-of-this-name
$ flashq stats \\
    --help
python -c "import mine; print(mine.WHAT)" > seen.txt
sleep 100 &
```

```python
# test_mine.py
from mine import WHAT

def test_what():
    assert WHAT == "job"
```

<!-- not run: it would not end -->
```python
while True: pass
```
"""


def test_a_page_that_is_true_passes(tmp_path: Path) -> None:
    """Files, programs with await, commands, outputs and tests of one page work together, and nothing stays running."""
    _play(GOOD, tmp_path)
    assert (tmp_path / "played" / "seen.txt").read_text() == "job\n"


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ("state active …", r"page\.md:16: the page shows"),
        ("state waiting", r"page\.md:16: the page shows"),
    ],
)
def test_a_wrong_output_is_found(lie: str, told: str, tmp_path: Path) -> None:
    """An output that the program does not print fails at its place."""
    with pytest.raises(pytest.fail.Exception, match=told):
        _play(GOOD.replace("state waiting …", lie), tmp_path)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nraise RuntimeError('planted')\n```",
        "```python\nimport warnings\nwarnings.warn('planted')\n```",
        "```shell\ntrue\necho planted; false\n```",
        "```python\n# test_it.py\ndef test_it():\n    assert 0, 'planted'\n```",
    ],
)
def test_a_block_that_fails_is_found(block: str, tmp_path: Path) -> None:
    """A program, a command or a test that fails fails the page, and says with what."""
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:3: (?s:.*)planted"):
        _play(f"Text.\n\n{block}\n", tmp_path)


def test_the_curl_of_those_who_have_none(tmp_path: Path) -> None:
    """It asks what curl would ask, and prints the answer whether it is good or not."""
    with ServerProcess(tmp_path / "server", url=MEMORY) as server:
        (tmp_path / "body").write_text('{"data": 1}')
        url = f"localhost:{server.http_port}/queues/q"
        printed = [
            subprocess.run([sys.executable, CURL, "-s", *words], capture_output=True, cwd=tmp_path, timeout=20).stdout
            for words in (
                (f"{url}/jobs", "-H", "X-Own: 1", "--data-binary", "@body"),
                (f"{url}/jobs/batch", "-d", '{"jobs": 1}'),
                (f"{url}/dlq", "-X", "DELETE"),
                (f"http://{url}/jobs?count=2",),
            )
        ]
    pushed, refused, purged, pulled = (json.loads(body) for body in printed)
    assert (pushed["id"], refused["code"], purged["data"]) == (1, "bad_request", 0)
    assert [job["id"] for job in pulled["data"]] == [1]


def test_blocks_after_each_other_are_all_found() -> None:
    """No block hides the one behind it, and the excuse excuses only its own."""
    page = blocks("```python\n1\n```\n```python\n2\n```\n<!-- not run: slow -->\n```shell\n3\n```\n```output\n4\n```\n")
    assert [(block.body, block.line, block.run) for block in page] == [
        ("1\n", 1, True),
        ("2\n", 4, True),
        ("3\n", 8, False),
        ("4\n", 11, True),
    ]

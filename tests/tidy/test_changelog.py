"""The changelog tool: fragments are checked, grouped and moved into the changelog exactly once."""

from pathlib import Path

import pytest
from tools import changelog


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a changelog, one old release and two fragments."""
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog.MARK}\n\n## 0.1.0 (2026-01-01)\n")
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / "README.md").write_text("# About\n")
    (folder / "b-thing.fixed.md").write_text("It was broken.\nNow it works.\n")
    (folder / "a-thing.added.md").write_text("It is there.\n")
    return tmp_path


def test_the_fragments_of_this_repository() -> None:
    """Every fragment here is well formed, so that a release does not stumble over one."""
    assert changelog.main(["check"]) == 0


def test_the_changelog_of_this_repository_has_its_mark() -> None:
    """A release finds the place for its section."""
    assert changelog.with_section((changelog.ROOT / "CHANGELOG.md").read_text(), "new").count("new") > 0


def test_draft(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kinds come in their order, lines of a fragment stay in one item, and nothing is changed."""
    assert changelog.main(["draft"], root) == 0
    assert capsys.readouterr().out == (
        "## Unreleased\n\n### Added\n\n- It is there.\n\n### Fixed\n\n- It was broken.\n  Now it works.\n"
    )
    assert len(list((root / "changelog.d").iterdir())) == 3


def test_release(root: Path) -> None:
    """The newest section comes first, the fragments are gone, and a second release has nothing to say."""
    assert changelog.main(["release", "0.2.0", "2026-12-01"], root) == 0
    text = (root / "CHANGELOG.md").read_text()
    assert text.index("## 0.2.0 (2026-12-01)") < text.index("It is there.") < text.index("## 0.1.0")
    assert [path.name for path in (root / "changelog.d").iterdir()] == ["README.md"]
    assert changelog.main(["release", "0.3.0", "2026-12-02"], root) == 1


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("thing.md", "Text.", "call it NAME.KIND.md"),
        ("thing.news.md", "Text.", "call it NAME.KIND.md"),
        ("Thing.fixed.md", "Text.", "call it NAME.KIND.md"),
        ("thing.fixed.md", " \n", "is empty"),
        ("thing.fixed.md", "- Text.", "write plain sentences"),
    ],
)
def test_malformed_fragments(
    root: Path, name: str, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A malformed fragment is named with what to do about it, and a release is not half made."""
    (root / "changelog.d" / name).write_text(text)
    before = (root / "CHANGELOG.md").read_text()
    assert changelog.main(["release", "0.2.0", "2026-12-01"], root) == 1
    assert capsys.readouterr().err.startswith(f"{name}: {complaint}")
    assert (root / "CHANGELOG.md").read_text() == before


def test_refusals(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong version, a missing mark and an unknown command are refused with one clear message."""
    assert changelog.main(["release", "two", "2026-12-01"], root) == 1
    assert "a version looks like" in capsys.readouterr().err
    assert changelog.main(["publish"], root) == 2
    assert "Usage:" in capsys.readouterr().err
    (root / "CHANGELOG.md").write_text("# Changelog\n")
    assert changelog.main(["release", "0.2.0", "2026-12-01"], root) == 1
    assert changelog.MARK in capsys.readouterr().err

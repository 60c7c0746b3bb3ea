"""What ruff does not read keeps to its line length, too: the pages' templates, styles and scripts, shell, TOML."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 120
WEB = ROOT / "dicom_node" / "web"
FOREIGN = WEB / "static" / "idiomorph-0.8.0.min.js"
FOLDERS = (".ci", "config", "dicom_node", "inference", "reports", "scripts", "tests")
CARDS = ROOT / "config" / "models"  # written by the training


def is_script(path: Path) -> bool:
    """Whether a file without a suffix says in its first line what runs it."""
    return path.is_file() and not path.suffix and path.read_bytes().startswith(b"#!")


def written_by_people() -> list[Path]:
    """The files that this test reads; Markdown is none of them, since a table or a link may need long lines."""
    pages = [path for kind in ("html", "css", "js") for path in WEB.rglob(f"*.{kind}") if path != FOREIGN]
    places = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    others = [path for path in [*ROOT.glob("*.toml"), *places] if path.suffix in (".py", ".sh", ".toml")]
    return [*pages, *(path for path in others if path.parent != CARDS), *filter(is_script, places)]


def test_lines_are_not_longer_than_ruff_permits() -> None:
    """Each named with its number."""
    longer = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in written_by_people()
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > LONGEST
    ]
    assert longer == []


def test_every_kind_is_read() -> None:
    """Lest the test above finds nothing because it looks nowhere."""
    read = written_by_people()
    assert {path.suffix for path in read} == {"", ".css", ".html", ".js", ".py", ".sh", ".toml"}
    assert len(read) > 300


def test_no_package_registry_is_named_by_its_host() -> None:
    """A package is named, and its own client knows where to get it: a site may have a mirror."""
    kinds = r"(registry|files|download|test)\.?(npm\w*|python\w*|pytorch|yarn\w*)|\bnpmjs|\bpypi|crates"
    host = re.compile(rf"({kinds})\.(org|com|io)\b")
    places = [*written_by_people(), FOREIGN, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    places += [path for folder in ("inference", "scripts", "tests") for path in (ROOT / folder).rglob("*.md")]
    assert [str(path.relative_to(ROOT)) for path in places if host.search(path.read_text())] == []

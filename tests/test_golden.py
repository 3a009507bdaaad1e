"""The golden numbers are complete, described, and small."""

import fnmatch
import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).with_name("golden")
FILES = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob("*")
    if path.is_file() and path.name != "README.md"
)
LARGEST_SUM = 8_000_000  # bytes: the history of the repository keeps them for ever


def test_every_golden_file_is_described():
    names = re.findall(r"^\| `(\S+)` \|", (FOLDER / "README.md").read_text(), re.M)
    described = [re.sub(r"\{.*\}|[A-Z]+", "*", name) for name in names]
    for file in FILES:
        assert any(fnmatch.fnmatch(file, pattern) for pattern in described), file
    for pattern in described:
        assert fnmatch.filter(FILES, pattern), pattern


def test_the_golden_files_stay_small():
    assert sum((FOLDER / file).stat().st_size for file in FILES) < LARGEST_SUM


def test_a_missing_golden_file_fails_with_its_name(golden_file):
    with pytest.raises(pytest.fail.Exception, match="has no absent.npz. EGNAS_GOLDEN"):
        golden_file("absent.npz")

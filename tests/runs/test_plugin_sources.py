"""Which files a plug-in consists of."""

import hashlib
import pathlib
import sysconfig

import pytest

from egnas_jax.runs import plugin_sources
from egnas_jax.runs.plugin_sources import find_source


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(autouse=True)
def search_path(monkeypatch, tmp_path):
    """The plug-ins' folder is the working directory; the path is restored."""
    monkeypatch.setattr("sys.path", list(plugin_sources.sys.path))
    monkeypatch.chdir(tmp_path)


def test_a_file_has_the_digest_that_sha256sum_prints(tmp_path):
    write(tmp_path, {"mine.py": "import math\n"})
    source = find_source(tmp_path / "mine.py")
    assert (source.name, source.is_module, source.imports) == ("mine", False, {})
    assert source.sha256 == hashlib.sha256(b"import math\n").hexdigest()
    assert source == find_source("mine.py") == find_source("./mine.py")


def test_modules_beside_a_file_belong_to_it_where_it_imports_them(tmp_path):
    files = {
        "mine.py": "import json\nfrom near import SIZE\n",
        "near.py": "def late():\n    import far.deep\nSIZE = 3\n",
        "far/__init__.py": "",
        "far/deep.py": "from . import other\nfrom .other import x\n",
        "far/other.py": "import mine\n",  # a circle
        "far/unused.py": "",
        "unused.py": "",
        "egnas_jax/__init__.py": "",  # its source is known already
    }
    files["far/deep.py"] += "import egnas_jax\n"
    source = find_source(write(tmp_path, files) / "mine.py")
    assert sorted(source.imports) == [
        "far/__init__.py",
        "far/deep.py",
        "far/other.py",
        "near.py",
    ]
    before = source.digests
    write(tmp_path, {"far/other.py": "import mine \n"})
    after = find_source("mine.py").digests
    assert [path for path in before if before[path] != after[path]] == ["far/other.py"]
    assert source.files == {tmp_path / "mine.py", *(tmp_path / p for p in before)}


def test_a_module_is_found_here_and_its_packages_belong_to_it(tmp_path):
    files = {
        "mine/__init__.py": "raise RuntimeError('finding runs nothing')\n",
        "mine/inner/__init__.py": "",
        "mine/inner/plugin.py": "from .. import sizes\nfrom ...above import x\n",
        "mine/sizes.py": "",
    }
    write(tmp_path, files)
    source = find_source("mine.inner.plugin")
    assert source.name == "mine.inner.plugin" and source.is_module
    assert (source.file, source.root) == (tmp_path / "mine/inner/plugin.py", tmp_path)
    assert sorted(source.imports) == [
        "mine/__init__.py",
        "mine/inner/__init__.py",
        "mine/sizes.py",
    ]
    assert find_source("mine").file == tmp_path / "mine/__init__.py"
    assert find_source("mine").root == tmp_path


def test_other_libraries_beside_an_installed_module_are_not_its_own(tmp_path):
    files = {
        "mine/__init__.py": "import mine.sizes, numpy_like\n",
        "mine/sizes.py": "",
        "numpy_like.py": "",
    }
    root = write(tmp_path / "site-packages", files)
    plugin_sources.add_to_path(root)
    assert sorted(find_source("mine").imports) == ["mine/sizes.py"]
    assert plugin_sources._is_installed(
        pathlib.Path(sysconfig.get_paths()["purelib"]).resolve()
    )


def test_a_file_that_is_no_python_has_no_imports(tmp_path):
    write(tmp_path, {"mine.py": "import near\nx = (\n", "near.py": ""})
    assert find_source("mine.py").imports == {}


@pytest.mark.parametrize(
    "name, words",
    [
        ("constant_metod.py", "does not exist. Did you mean constant_method.py?"),
        ("no/where.py", "does not exist"),
        ("folder.py", "is a folder"),
        ("constant_metod", "no module that can be imported from here. Did you mean"),
        ("constant_method.inner", "no module that can be imported"),
        ("sys", "no module of Python source"),
        ("__main__", "no module"),
        ("", "no module"),
        (".", "no module"),
    ],
)
def test_what_cannot_be_found_is_named(name, words, tmp_path):
    write(tmp_path, {"constant_method.py": "", "folder.py/x": ""})
    with pytest.raises(ValueError) as error:
        find_source(name)
    assert words in str(error.value) and repr(name) in str(error.value)

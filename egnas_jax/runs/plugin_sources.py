"""Finds the source files that a plug-in consists of; runs none of them.

A plug-in is a Python file, or a module by its dotted name. Its own imports belong to
it: the modules beside the file, or in the package's folder, that its import statements
name. Installed libraries do not, and neither do modules that it imports by other means.
"""

import ast
import difflib
import hashlib
import importlib.machinery
import importlib.util
import os
import pathlib
import pkgutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Source(NamedTuple):
    """The files of a plug-in.

    Attributes:
      name: the dotted name of a module, or the stem of a file.
      file: absolute.
      is_module: whether it is imported by its name.
      content: of the file.
      imports: path -> content of every further file, relative to `root`.
    """

    name: str
    file: pathlib.Path
    is_module: bool
    content: bytes
    imports: Mapping[str, bytes]

    @property
    def root(self) -> pathlib.Path:
        """The folder that its own modules are imported from."""
        return root_of(self.file, self.name if self.is_module else None)

    @property
    def files(self) -> frozenset[pathlib.Path]:
        """All of them, absolute."""
        return frozenset({self.file, *(self.root / path for path in self.imports)})

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        """Sha256 of every further file."""
        return {
            path: hashlib.sha256(content).hexdigest()
            for path, content in self.imports.items()
        }


def root_of(file: pathlib.Path, module: str | None) -> pathlib.Path:
    """The folder below which the imports of a plug-in are looked for.

    Args:
      file: of the plug-in.
      module: its dotted name; None for a file that is loaded by its path.
    """
    if module is None:
        return file.parent
    return file.parents[module.count(".") + (file.name == "__init__.py")]


def find_source(name: str | os.PathLike) -> Source:
    """Finds and reads the files of a plug-in.

    Args:
      name: a path that ends in .py or has a folder, or the dotted name of a module,
        which is looked for in the working directory too.

    Raises:
      ValueError: there is no such file or module, or it cannot be read.
    """
    is_path = isinstance(name, os.PathLike) or _looks_like_a_path(name)
    file = _existing_file(os.fspath(name)) if is_path else _file_of_module(name)
    module = None if is_path else str(name)
    try:
        content = file.read_bytes()
        root = root_of(file, module)
        imports = dict(_own_imports(file, content, module, root))
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"The plug-in {file} cannot be read: {reason}. Name another file."
        ) from None
    return Source(
        name=module or file.stem,
        file=file,
        is_module=not is_path,
        content=content,
        imports=imports,
    )


def wrong_modules(source: Source) -> dict[str, str]:
    """Own modules of a loaded plug-in that were taken from another place.

    All plug-ins of a process share the names of modules, and so do installed packages.

    Returns:
      Dotted name -> the file that was imported instead of the one below the root.
    """
    wrong = {}
    for path in source.imports:
        parts = pathlib.PurePosixPath(path).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and pathlib.Path(file).resolve() != source.root / path:
            wrong[name] = file
    return wrong


def modules_elsewhere(source: Source) -> dict[str, str]:
    """Modules that a loaded plug-in imports from outside of its root.

    Installed packages and Python's own modules are left out.

    Returns:
      File -> sha256 of its contents.
    """
    contents = [source.content, *source.imports.values()]
    names = {name for text in contents for name in _imported_names(text, [])}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in names}
    paths = {pathlib.Path(file).resolve() for file in files if file is not None}
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths - source.files)
        if path.suffix == ".py" and not _belongs_to_python(path)
    }


def _belongs_to_python(path: pathlib.Path) -> bool:
    """Whether a file is of the standard library, an installed package or this one."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {pathlib.Path(sysconfig.get_path(kind)).resolve() for kind in kinds}
    folders.add(pathlib.Path(__file__).resolve().parents[1])
    is_installed = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(is_installed) or any(path.is_relative_to(each) for each in folders)


def add_to_path(folder: pathlib.Path) -> None:
    """Lets modules be imported from a folder, after all places that are known."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _looks_like_a_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name or os.sep in name


def _existing_file(name: str) -> pathlib.Path:
    path = pathlib.Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        raise ValueError(
            f"The plug-in {name!r} is a folder. Name a .py file, or the module: "
            f"{path.name}."
        )
    beside = sorted(p.name for p in path.parent.glob("*.py"))
    hint = _did_you_mean(path.name, beside)
    raise ValueError(
        f"The plug-in {name!r} does not exist.{hint} Name a .py file, or a module."
    )


def _file_of_module(name: str) -> pathlib.Path:
    """The file of a module; its parent packages are not imported."""
    add_to_path(pathlib.Path.cwd())
    spec = _spec_of(name)
    if spec is None:
        modules = {module.name for module in pkgutil.iter_modules()}
        hint = _did_you_mean(name, sorted(modules))
        raise ValueError(
            f"The plug-in {name!r} is no module that can be imported from here.{hint} "
            f"Name an installed module, one in this folder, or a file by its path "
            f"(my_file.py)."
        )
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise ValueError(
            f"The plug-in {name!r} is no module of Python source. Name a module that "
            f"is a .py file, or has an __init__.py."
        )
    return pathlib.Path(spec.origin).resolve()


def _spec_of(name: str) -> importlib.machinery.ModuleSpec | None:
    top, *rest = name.split(".")
    if top == "__main__":  # the command itself
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):  # an empty name
        return None
    full = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        full, places = f"{full}.{part}", list(spec.submodule_search_locations)
        spec = importlib.machinery.PathFinder.find_spec(full, places)
    return spec


def _did_you_mean(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {', '.join(close)}?" if close else ""


def _own_imports(
    file: pathlib.Path, content: bytes, module: str | None, root: pathlib.Path
) -> Iterator[tuple[str, bytes]]:
    """(Path below the root, content) of what a plug-in imports, directly or not."""
    only = module.partition(".")[0] if module and _is_installed(root) else None
    waiting = [(file, content)]
    waiting += [(path, path.read_bytes()) for path in _parents(module, root)]
    seen = {path for path, _ in waiting}
    while waiting:
        path, text = waiting.pop()
        if path != file:
            yield path.relative_to(root).as_posix(), text
        for name in _imported_names(text, _package_of(path, root)):
            for found in _files_of(name, root, only):
                if found not in seen:
                    seen.add(found)
                    waiting.append((found, found.read_bytes()))


def _parents(module: str | None, root: pathlib.Path) -> list[pathlib.Path]:
    """The __init__.py of the packages that a module lies in."""
    parts = module.split(".")[:-1] if module else []
    folders = [root.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    files = [folder / "__init__.py" for folder in folders]
    return [file for file in files if file.is_file()]


def _is_installed(root: pathlib.Path) -> bool:
    """Whether a folder holds installed libraries, beside the plug-in's own modules."""
    paths = sysconfig.get_paths()
    installed = {pathlib.Path(paths[name]).resolve() for name in ("purelib", "platlib")}
    return root in installed or "site-packages" in root.parts


def _package_of(path: pathlib.Path, root: pathlib.Path) -> list[str]:
    return list(path.relative_to(root).parent.parts)


def _imported_names(text: bytes, package: list[str]) -> Iterator[str]:
    """Dotted names in the import statements of a file, at any depth."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # loading it says so, with the line
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else []
            base = [*near, *(node.module or "").split(".")] if node.module else near
            yield ".".join(base)
            yield from (".".join([*base, alias.name]) for alias in node.names)


def _files_of(name: str, root: pathlib.Path, only: str | None) -> list[pathlib.Path]:
    """Files below the root that an import of a dotted name runs.

    Args:
      name: of the module, or of something in a module.
      root: folder of the plug-in's modules.
      only: the one package of the root that belongs to the plug-in; None: all do.
    """
    parts = name.split(".")
    if parts[0] in ("", "egnas_jax") or only not in (None, parts[0]):
        return []
    files = []
    for end in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:end])
        candidates = place.with_name(f"{place.name}.py"), place / "__init__.py"
        files += [path for path in candidates if path.is_file()]
    return files

"""Identity: which data, parameters, source code and library versions a result came from.

A fingerprint names checkpoints and studies, tags MLflow runs and registered versions, and is what `publish` looks up.
The code of a stage is the modules it really imports, each by the digest of its syntax tree, and the versions of the
libraries that compute its numbers: so an edit reruns what it can change, and a comment reruns nothing.
"""

import ast
import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from podium.core.errors import DataError
from podium.core.files import canonical_json, sha256_file, sha256_text, write_json
from podium.core.layout import Layout

CHANGES_NO_RESULT = (
    "podium.console",  # what people see while a stage runs
    "podium.core.errors",  # what they are told when it stops
    "podium.config.params",  # hands each stage its sections; what is in them is in the modules of the sections
    "podium.tracking.live",  # shows a run in MLflow while it goes on, and is given nothing it could change
)
"""Modules and rooms that no result depends on. Everything else that a stage imports is part of its code."""

LIBRARIES = {
    "PIL": "pillow",
    "anyascii": "anyascii",
    "captum": "captum",
    "cv2": "opencv-python-headless",
    "great_expectations": "great-expectations",
    "imagehash": "imagehash",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "optuna": "optuna",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
}
"""Libraries whose version can change a byte of a result, by the name they are imported under."""

_PACKAGE = Path(__file__).parents[1]
_RECORDED = ("numpy", "timm", "torch", "torchvision")
_KEPT = 1000  # modules whose reading is kept between processes, the newest
_FOLDER_NAME = re.compile(r"[\w\-]{1,64}")

version = cache(metadata.version)


@dataclass(frozen=True)
class Code:
    """What computes a stage's results: modules with digests (16 hex digits), distributions with versions."""

    modules: dict[str, str]
    libraries: dict[str, str]

    def json(self) -> dict[str, dict[str, str]]:
        """Both as JSON."""
        return {"modules": self.modules, "libraries": self.libraries}


def fingerprint(parts: Mapping[str, object]) -> str:
    """sha256 (64 hex digits) over the canonical JSON of everything that can change a result."""
    return sha256_text(canonical_json(dict(parts)))


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that train and predict; build suffixes such as `+cpu` are kept."""
    return {name: version(name) for name in _RECORDED}


def stage_code(root: Path, stage: str) -> Code:
    """The modules a stage's script imports, directly or through others, and the libraries these import.

    Imports inside functions count; those under `if TYPE_CHECKING` do not, nor do packages that hold a docstring only.
    Scripts are those below `root`, modules those of the package that runs.

    Raises:
        DataError: there is no such script.
    """
    return _code(_modules(root, stage))


def module_code(root: Path, name: str) -> Code:
    """The same of one module of this package, such as `podium.data.decode`; `root` is where readings are kept."""
    return _code(_follow(root, list(_own_modules((name,)))))


def _code(modules: dict[str, "_Module"]) -> Code:
    tops = {name.partition(".")[0] for module in modules.values() for name in module.imports}
    return Code(
        modules={name: module.digest for name, module in sorted(modules.items()) if not module.empty},
        libraries={name: version(name) for name in sorted(LIBRARIES[top] for top in tops & LIBRARIES.keys())},
    )


def _modules(root: Path, stage: str) -> dict[str, "_Module"]:
    """A stage's script and every module of this project that it imports, directly or through others, by name."""
    script = root / "stages" / f"{stage}.py"
    if not script.is_file():
        raise DataError(f"{script} does not exist: restore it with git checkout")
    return _follow(root, [(f"stages.{stage}", script)])


def _follow(root: Path, pending: list[tuple[str, Path]]) -> dict[str, "_Module"]:
    """Some files, given with their names, and every module of this project that they import."""
    found: dict[str, _Module] = {}
    while pending:
        name, file = pending.pop()
        if name not in found:
            found[name] = _module(root, file)
            pending.extend(_own_modules(found[name].imports))
    return found


def keep_readings(root: Path) -> None:
    """Keeps what was read of modules for the next process, by the digest of their bytes: parsing all takes a second."""
    readings = {key: module.json() for key, module in list(_readings(root).items())[-_KEPT:]}
    write_json(Layout(root).readings, {"reader": _reader(), "modules": readings})


@cache
def _readings(root: Path) -> dict[str, "_Module"]:
    """What is known of modules by the sha256 of their bytes, and is added to; empty where another reader kept it."""
    file = Layout(root).readings
    if not file.is_file():
        return {}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["reader"] != _reader():
            return {}
        return {key: _Module.of(value) for key, value in kept["modules"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged: everything is read again
        return {}


@cache
def _reader() -> str:
    """What a reading depends on beside the bytes: this module, and the syntax that this Python knows."""
    return f"{sha256_file(Path(__file__))} {platform.python_version()}"


def _own_modules(imports: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """The modules of this project among what a module imports, with the packages that they lie in."""
    for name in imports:
        parts = name.split(".")
        if parts[0] != "podium":
            continue
        for end in range(2, len(parts) + 1):  # `podium` itself holds the version, which changes no result
            own = ".".join(parts[:end])
            base = _PACKAGE.joinpath(*parts[1:end])
            if any(f"{own}.".startswith(f"{free}.") for free in CHANGES_NO_RESULT):
                break
            for file in (base.with_suffix(".py"), base / "__init__.py"):
                if file.is_file():
                    yield own, file


@dataclass(frozen=True)
class _Module:
    """What one file imports, the digest of what it does, and the templates it renders."""

    imports: tuple[str, ...]
    syntax: str
    names: tuple[str, ...]
    empty: bool
    folder: Path = Path()

    @property
    def digest(self) -> str:
        """16 hex digits over the syntax and the templates."""
        texts = [file.read_text(encoding="utf-8") for file in _templates(self.names, self.folder)]
        return sha256_text(self.syntax + "".join(texts))[:16]

    def json(self) -> list[object]:
        """What does not depend on where the file lies."""
        return [self.imports, self.syntax, self.names, self.empty]

    @classmethod
    def of(cls, kept: list[Any]) -> Self:
        """What `json` gave.

        Raises:
            ValueError: it is something else.
        """
        imports, syntax, names, empty = kept
        return cls(tuple(map(str, imports)), str(syntax), tuple(map(str, names)), bool(empty))


def _module(root: Path, file: Path) -> _Module:
    """What a file imports and does: as it was read before, if its bytes are the same."""
    source = file.read_bytes()
    readings, key = _readings(root), hashlib.sha256(source).hexdigest()
    if key not in readings:
        readings[key] = _read(source, file)
    return replace(readings[key], folder=file.parent)


def _read(source: bytes, file: Path) -> _Module:
    tree = ast.parse(source, filename=str(file))
    digest = hashlib.sha256()
    for part in _syntax(tree):
        digest.update(part.encode())
        digest.update(b"\0")
    return _Module(
        imports=tuple(_imports(tree)),
        syntax=digest.hexdigest(),
        names=tuple(sorted(_names(tree))),
        empty=not _statements(tree),
    )


def _imports(tree: ast.AST) -> Iterator[str]:
    """Every imported name with its dots, `from a import b` as `a.b`; not those that only a type checker follows."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imports(other)
        else:
            yield from _imports(node)


def _names(tree: ast.AST) -> set[str]:
    """Every string in a module that could be the name of a folder."""
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {text for text in strings if _FOLDER_NAME.fullmatch(text)}


def _templates(names: tuple[str, ...], folder: Path) -> Iterator[Path]:
    """The templates a module renders: files, no modules, in folders beside it that it names in a string."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name in names):
        yield from sorted(path for path in place.rglob("*.j2") if path.is_file())


def _syntax(node: ast.AST) -> Iterator[str]:
    """A syntax tree as words, without docstrings and places.

    `ast.dump` and `ast.unparse` differ between Python versions; node names and the fields that are not empty do not.
    """
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        children = _statements(node) if name == "body" and isinstance(value, list) else value
        if children is None or children == []:
            continue
        yield name
        for child in children if isinstance(children, list) else [children]:
            if isinstance(child, ast.AST):
                yield from _syntax(child)
            else:
                yield repr(child)
    yield "end"


def _statements(node: ast.AST) -> list[ast.stmt]:
    """The body of a module, class or function without bare strings: docstrings, also those of attributes."""
    body: list[ast.stmt] = getattr(node, "body", [])
    return [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]

"""Text available on every machine: the docstrings of Python's standard library.

The sources are parsed, not imported, because an import executes the module. Only built-in modules
such as `math`, which have no Python source, are imported.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

MIN_CHARACTERS = 40
MAX_CHARACTERS = 600

NETWORKING_FILES_DATA = (
    *(
        "email",
        "ftplib",
        "http",
        "imaplib",
        "ipaddress",
        "mailbox",
        "mimetypes",
        "netrc",
        "poplib",
        "smtplib",
    ),
    *(
        "socket",
        "socketserver",
        "ssl",
        "urllib",
        "webbrowser",
        "wsgiref",
        "xmlrpc",
        "selectors",
        "html",
        "xml",
    ),
    *("base64", "binascii", "bz2", "configparser", "csv", "dbm", "gzip", "hashlib", "hmac", "json", "lzma"),
    *("pickle", "plistlib", "quopri", "secrets", "shelve", "sqlite3", "tarfile", "tomllib", "uuid", "wave"),
    *("zipfile", "zlib", "filecmp", "fileinput", "fnmatch", "genericpath", "glob", "io", "linecache", "os"),
    *("pathlib", "posixpath", "shutil", "stat", "tempfile"),
)
TEXT_MATHS_CONCURRENCY_LANGUAGE = (
    *(
        "argparse",
        "calendar",
        "cmd",
        "codecs",
        "difflib",
        "gettext",
        "getopt",
        "locale",
        "optparse",
        "pprint",
    ),
    *("re", "reprlib", "shlex", "string", "textwrap", "tokenize", "builtins", "cmath", "datetime", "decimal"),
    *(
        "fractions",
        "heapq",
        "bisect",
        "itertools",
        "math",
        "numbers",
        "random",
        "statistics",
        "time",
        "timeit",
    ),
    *("asyncio", "concurrent", "contextvars", "multiprocessing", "queue", "sched", "signal", "subprocess"),
    *(
        "threading",
        "abc",
        "ast",
        "code",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "dis",
        "doctest",
    ),
    *("enum", "functools", "gc", "graphlib", "importlib", "inspect", "logging", "operator", "pdb", "pkgutil"),
    *("symtable", "sys", "trace", "traceback", "tracemalloc", "types", "typing", "unittest", "warnings"),
    *("weakref", "zoneinfo"),
)

# Python sources whose name differs from that of the module.
_SOURCE_NAMES = {"_pydecimal": "decimal", "_pyio": "io", "_pydatetime": "datetime"}
_SKIPPED_PARTS = frozenset({"test", "tests", "__pycache__", "__main__"})
_BUILT_IN = frozenset({"binascii", "builtins", "cmath", "gc", "itertools", "math", "sys", "time", "zlib"})
_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Text(NamedTuple):
    """The documentation of one object."""

    name: str
    """Qualified, such as `json.JSONDecoder.decode`; unique."""
    module: str
    kind: str
    """`module`, `class`, `function` or `method`."""
    line: int | None
    """The line of the definition, from 1; None in C code."""
    text: str
    """The name and the first paragraphs, 40-600 characters."""


def read(modules: tuple[str, ...]) -> list[Text]:
    """Return the documented public objects of these modules and their submodules, sorted by name."""
    wanted = frozenset(modules)
    found: dict[str, Text] = {}
    for name, path in _sources(Path(inspect.__file__).parent):
        if name.partition(".")[0] in wanted:
            for text in _of_source(name, path):
                found.setdefault(text.name, text)
    for name in sorted(_BUILT_IN & wanted):
        for text in _of_module(importlib.import_module(name)):
            found.setdefault(text.name, text)
    return [found[name] for name in sorted(found)]


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and path of each standard library module with a Python source."""
    for path in sorted([*root.glob("*.py"), *root.glob("[a-z]*/**/*.py")]):
        parts = list(path.relative_to(root).with_suffix("").parts)
        if parts[0] == "site-packages" or not _SKIPPED_PARTS.isdisjoint(parts):
            continue
        parts[0] = _SOURCE_NAMES.get(parts[0], parts[0])
        if parts[-1] == "__init__":
            parts.pop()
        if not any(part.startswith("_") for part in parts):
            yield ".".join(parts), path


def _of_source(module: str, path: Path) -> Iterator[Text]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # an intentionally invalid test file
        return
    yield from _of_node(tree, module, module, "module")


def _of_node(node: ast.AST, module: str, name: str, kind: str) -> Iterator[Text]:
    if isinstance(node, (ast.Module, *_DEFINITIONS)):
        text = _useful(name, ast.get_docstring(node))
        if text is not None:
            yield Text(name, module, kind, getattr(node, "lineno", 1), text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _DEFINITIONS):
            # Definitions nested in a function are not public.
            if not child.name.startswith("_") and kind in {"module", "class"}:
                yield from _of_node(child, module, f"{name}.{child.name}", _kind(child, kind))
        elif isinstance(child, ast.If | ast.Try):
            yield from _of_node(child, module, name, kind)


def _kind(node: ast.AST, outer: str) -> str:
    if isinstance(node, ast.ClassDef):
        return "class"
    return "method" if outer == "class" else "function"


def _of_module(module: ModuleType) -> Iterator[Text]:
    """Yield the docstrings of a C module, its functions and types, and their methods."""
    name = module.__name__
    if (text := _useful(name, module.__doc__)) is not None:
        yield Text(name, name, "module", None, text)
    for short, thing in sorted(vars(module).items()):
        if short.startswith("_") or not (isinstance(thing, type) or inspect.isbuiltin(thing)):
            continue
        is_type = isinstance(thing, type)
        qualified = short if name == "builtins" else f"{name}.{short}"
        if (text := _useful(qualified, thing.__doc__)) is not None:
            yield Text(qualified, name, "class" if is_type else "function", None, text)
        for member, method in sorted(vars(thing).items()) if is_type else ():
            text = _useful(f"{qualified}.{member}", getattr(method, "__doc__", None))
            if text is not None and callable(method) and not member.startswith("_"):
                yield Text(f"{qualified}.{member}", name, "method", None, text)


def _useful(name: str, docstring: str | None) -> str | None:
    """Return the name and the first paragraphs of a docstring, or None if it is too short."""
    kept = ""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring or "")):
        words = " ".join(paragraph.split())
        if kept and len(kept) + len(words) > MAX_CHARACTERS:
            break
        kept = f"{kept}\n{words}" if kept else words
    if len(kept) > MAX_CHARACTERS:
        kept = f"{kept[:MAX_CHARACTERS].rpartition(' ')[0]} ..."
    return f"{name}: {kept}" if len(kept) >= MIN_CHARACTERS else None

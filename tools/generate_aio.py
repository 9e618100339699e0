"""Writes `src/akidb/aio/*.py`, the awaitable twins of the handles in `src/akidb/client/handles`.

Each twin class wraps the synchronous handle and the threads of its client. A method becomes a
coroutine that calls the handle's method in a thread; returned handles are wrapped as twins.
Properties only read memory, so they stay properties. `--check` writes nothing and fails if a
file is stale.
"""

import ast
import subprocess
import sys
from pathlib import Path

NAME = "tools/generate_aio.py"
ROOT = Path(__file__).parents[1]
HANDLES = ROOT / "src/akidb/client/handles"
TWINS = ROOT / "src/akidb/aio"
MODULES = ("client", "tenants", "databases", "collections", "documents", "users", "migration")
PARENTS = {"Searching": "searching"}
"""Classes of which handles inherit methods, and their modules; the twins have all methods themselves."""
HANDLE_CLASSES = frozenset(
    {
        "Models",
        "Migration",
        "Tenants",
        "TenantHandle",
        "Databases",
        "DatabaseHandle",
        "Collections",
        "CollectionHandle",
        "Users",
        "UserHandle",
    }
)


def main() -> int:
    stale = []
    for module in MODULES:
        text = twin_module(module)
        path = TWINS / f"{module}.py"
        if "--check" in sys.argv[1:]:
            stale += [path] if not path.exists() or path.read_text() != text else []
        else:
            path.write_text(text)
    for path in stale:
        print(f"{path.relative_to(ROOT)} is stale: run {NAME}", file=sys.stderr)
    return 1 if stale else 0


def twin_module(module: str) -> str:
    """Return the source of the twin of one module of handles."""
    tree = ast.parse((HANDLES / f"{module}.py").read_text())
    origin = f"The awaitable twin of `akidb.client.handles.{module}`, generated from it by `{NAME}`."
    lines = [
        f'"""{ast.get_docstring(tree)}\n\n{origin}\n"""',
        "from collections.abc import AsyncIterator",
        "from akidb.aio.base import Twin",
        f"from akidb.client.handles import {module} as sync",
    ]
    classes = []
    nodes = [*_parents(tree), *tree.body]
    for node in sorted(nodes, key=lambda node: isinstance(node, ast.If)):  # imports for types alone last
        if isinstance(node, ast.Import | ast.ImportFrom | ast.If):
            lines.append(_import(node))
        elif isinstance(node, ast.ClassDef):
            if any(isinstance(base, ast.Name) and base.id == "TypedDict" for base in node.bases):
                lines.append(f"from akidb.client.handles.{module} import {node.name}")
            else:
                classes.append(_class(node))
    return _formatted("\n".join([*lines, *classes]))


def _parents(tree: ast.Module) -> list[ast.stmt]:
    """Let the classes of a module have the methods that they inherit; return the imports of these."""
    imports: list[ast.stmt] = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for base in node.bases:
            module = PARENTS.get(base.id) if isinstance(base, ast.Name) else None
            if module is not None:
                for each in ast.parse((HANDLES / f"{module}.py").read_text()).body:
                    if isinstance(each, ast.ClassDef):
                        node.body += [member for member in each.body if isinstance(member, ast.FunctionDef)]
                    elif isinstance(each, ast.Import | ast.ImportFrom | ast.If):
                        imports.append(each)
    return imports


def _import(node: ast.Import | ast.ImportFrom | ast.If) -> str:
    """Return an import, with handles replaced by twins."""
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        package, _, module = node.module.rpartition(".")
        if package == "akidb.client.handles" and module in MODULES:
            node.module = f"akidb.aio.{module}"
    return ast.unparse(node)


def _class(node: ast.ClassDef) -> str:
    members = [_docstring(node)]
    for member in node.body:
        if isinstance(member, ast.Assign):  # name = Field[str](), which reads the twin's `entity`
            text = ast.unparse(member)
            members.append(_indented("__slots__ = ()" if text.startswith("__slots__") else text))
        elif isinstance(member, ast.FunctionDef):
            members.append(_member(member))
    return f"class {node.name}(Twin[sync.{node.name}]):\n" + "\n".join(member for member in members if member)


def _member(node: ast.FunctionDef) -> str:
    if node.name == "__init__":
        return ""
    if node.name == "__repr__":
        return "    def __repr__(self) -> str:\n        return repr(self._sync)"
    if node.name == "__enter__":
        return "    async def __aenter__(self) -> Self:\n        return self"
    if node.name == "__exit__":
        return f"    async def __aexit__({ast.unparse(node.args)}) -> None:\n        await self.close()"
    if node.name == "close":
        return _method(node, ["await self._threads.close(self._sync.close)"])
    if node.name == "__iter__":
        node.name = "__aiter__"
        return _method(node, _iteration("self._sync", _returned(node)))
    if node.name.startswith("_"):
        return ""
    if node.decorator_list:  # a property
        value = f"self._sync.{node.name}"
        body = f"{_returned(node)}({value}, self._threads)" if _returned(node) in HANDLE_CLASSES else value
        signature = f"    @property\n    def {node.name}(self) -> {_annotation(node)}:\n"
        return f"{signature}{_docstring(node, 8)}\n        return {body}"
    return _method(node, _call(node))


def _method(node: ast.FunctionDef, body: list[str]) -> str:
    annotation = _annotation(node).replace("Iterator[", "AsyncIterator[")
    lines = [f"    async def {node.name}({ast.unparse(node.args)}) -> {annotation}:", _docstring(node, 8)]
    return "\n".join([line for line in lines if line] + [f"        {line}" for line in body])


def _call(node: ast.FunctionDef) -> list[str]:
    """Return the body that runs the call in a thread."""
    function, returned = f"self._sync.{node.name}", _returned(node)
    passed = _passed(node.args)
    if returned.startswith("Iterator["):
        return _iteration(f"{function}({', '.join(passed)})", returned)
    call = f"await self._threads({', '.join([function, *passed])})"
    if returned == "None":
        return [call]
    if returned in HANDLE_CLASSES:
        return [f"return {returned}({call}, self._threads)"]
    kind = returned.removesuffix(" | None")
    if kind in HANDLE_CLASSES:
        return [f"found = {call}", f"return None if found is None else {kind}(found, self._threads)"]
    kind = returned.removeprefix("Page[").removesuffix("]")
    if kind in HANDLE_CLASSES:
        items = f"({kind}(item, self._threads) for item in page)"
        return [f"page = {call}", f"return Page({items}, page.next_cursor, page.damaged)"]
    return [f"return {call}"]


def _iteration(iterable: str, returned: str) -> list[str]:
    kind = returned.removeprefix("Iterator[").removesuffix("]")
    item = f"{kind}(item, self._threads)" if kind in HANDLE_CLASSES else "item"
    return [f"async for item in self._threads.iterate({iterable}):", f"    yield {item}"]


def _passed(arguments: ast.arguments) -> list[str]:
    """Return the arguments of a call that forwards all parameters."""
    names = [argument.arg for argument in arguments.args[1:]]
    names += [f"{argument.arg}={argument.arg}" for argument in arguments.kwonlyargs]
    if arguments.kwarg is not None:
        names.append(f"**{arguments.kwarg.arg}")
    return names


def _annotation(node: ast.FunctionDef) -> str:
    assert node.returns is not None, node.name
    return ast.unparse(node.returns)


def _returned(node: ast.FunctionDef) -> str:
    """Return the return annotation, without the quotes of a forward reference."""
    return _annotation(node).replace("'", "")


def _docstring(node: ast.ClassDef | ast.FunctionDef, indent: int = 4) -> str:
    text = ast.get_docstring(node)
    if text is None:
        return ""
    closing = "\n" if "\n" in text else ""
    return _indented(f'"""{text}{closing}"""', indent)


def _indented(text: str, indent: int = 4) -> str:
    return "\n".join(" " * indent + line if line else "" for line in text.split("\n"))


def _formatted(source: str) -> str:
    """Return the source without unused imports, sorted and formatted."""
    for command in (["check", "--quiet", "--fix-only", "--select", "F401,I,UP037"], ["format", "--quiet"]):
        source = subprocess.run(
            [Path(sys.executable).with_name("ruff"), *command, "--stdin-filename", TWINS / "_.py", "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return source


if __name__ == "__main__":
    sys.exit(main())

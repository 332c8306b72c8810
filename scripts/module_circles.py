#!/usr/bin/env python3
"""Finds circles among the modules, and among the topmost modules, of the crates that are given by name: `module_circles.py data model eval rl scripts`.

Reads the paths that a file uses (`use`, and `crate::`, `self::` or `super::` inside an expression), without tests. An edge leads from
the module of a file to the module that declares the name; a name that a module only re-exports belongs to where it is declared. A
parent that uses its children is no circle, a child that uses what its parent declares is.

`cargo modules dependencies --acyclic` (0.27) cannot be used for this: it reports each type and its own methods as a circle."""

import collections
import pathlib
import re
import sys

DECLARES = re.compile(
    r"^\s*(?:pub(?:\([a-z]+\))?\s+)?(?:unsafe\s+)?(?:const\s+|async\s+)?(?:fn|struct|enum|trait|const|static|type|macro_rules!)\s+(\w+)", re.M
)


def without_tests(text: str) -> str:
    """The text without comments, strings and modules of tests inside the file."""
    text = re.sub(r"//[^\n]*", "", text)
    return re.split(r"#\[cfg\((?:all\()?test\b[^\n]*\]\s*(?:#\[[^\n]*\]\s*)*(?:pub(?:\([a-z]+\))?\s+)?mod \w+ \{", text)[0]


def tree_paths(tree: str, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of a use tree such as `a::{b, c::{d, e}}`."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(tree):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(tree[start:place])
            start = place + 1
    paths = []
    for part in [*parts, tree[start:]]:
        head, brace, rest = part.strip().partition("{")
        head = re.split(r"\s+as\s+", head)[0]
        if not head and not brace:
            continue
        names = tuple(name.strip() for name in head.split("::") if name.strip())
        paths += tree_paths(rest[: rest.rindex("}")], prefix + names) if brace else [prefix + names]
    return paths


class Crate:
    def __init__(self, root: pathlib.Path):
        self.texts, self.declared, self.exported, self.uses = {}, {}, {}, {}
        for path in sorted(root.rglob("*.rs")):
            name = path.relative_to(root).with_suffix("").parts
            if name[-1] in ("mod", "lib"):
                name = name[:-1]
            if name == ("main",) or "tests" in name or name and name[-1].endswith("_tests"):
                continue
            self.texts[name] = without_tests(path.read_text())
        for name, text in self.texts.items():
            self.declared[name] = set(DECLARES.findall(text))
            self.exported[name], self.uses[name] = {}, set()
            for public, tree in re.findall(r"^\s*(pub(?:\([a-z]+\))?\s+)?use ([\w:{},*\s]+);", text, re.M):
                # A sentence of a text may begin with `use` too.
                for path in tree_paths(tree) if tree.count("{") == tree.count("}") else ():
                    path = self.absolute(name, path)
                    if path is None:
                        continue
                    self.uses[name].add(path)
                    target = path[:-1] if path[-1] == "self" else path
                    self.exported[name][target[-1] if target else ""] = target
            body = re.sub(r"^\s*(?:pub(?:\([a-z]+\))?\s+)?use [^;]+;", "", text, flags=re.M)
            for match in re.findall(r"\b((?:crate|super|self)(?:::\w+)+)", body):
                path = self.absolute(name, tuple(match.split("::")))
                if path:
                    self.uses[name].add(path)

    def absolute(self, module: tuple[str, ...], path: tuple[str, ...]) -> tuple[str, ...] | None:
        """A path from the root of the crate; None where it leads out of it."""
        if path[0] == "crate":
            return path[1:]
        if path[0] == "self":
            return module + path[1:]
        if path[0] == "super":
            while path and path[0] == "super":
                module, path = module[:-1], path[1:]
            return module + path
        return module + path if module + path[:1] in self.texts else None

    def owner(self, path: tuple[str, ...], seen: frozenset = frozenset()) -> tuple[str, ...] | None:
        """The module that declares what a path means."""
        if path in seen:
            return None
        module = ()
        for place, name in enumerate(path):
            if module + (name,) in self.texts:
                module += (name,)
            elif name in ("*", "self"):
                return module
            elif name in self.declared[module]:
                return module
            elif name in self.exported[module]:
                return self.owner(self.exported[module][name] + path[place + 1 :], seen | {path})
            else:
                return module
        return module

    def edges(self) -> dict:
        """From each module to those that declare what it uses."""
        return {
            name: {self.owner(path) for path in paths} - {None, name} for name, paths in self.uses.items()
        }


def circles(graph: dict) -> list[list]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while not component or component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def folders(graph: dict) -> dict:
    """The same edges between the topmost modules; a crate's own root is none of them."""
    found = collections.defaultdict(set)
    for module, others in graph.items():
        found[module[:1]] |= {other[:1] for other in others if module and other} - {module[:1]}
    return found


def main() -> int:
    failed = False
    for crate in sys.argv[1:]:
        modules = Crate(pathlib.Path(crate) / "src").edges()
        both = [("modules", modules, component) for component in circles(modules)]
        between = folders(modules)
        both += [("topmost modules", between, component) for component in circles(between)]
        for kind, graph, component in both:
            failed = True
            print(f"{crate}: a circle of {len(component)} {kind}")
            for module in component:
                others = sorted("::".join(other) or "crate" for other in graph[module] if other in component)
                print(f"  {'::'.join(module) or 'crate'} -> {', '.join(others)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

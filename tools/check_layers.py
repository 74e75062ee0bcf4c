#!/usr/bin/env python3
"""Holds the include rules of doc/ARCHITECTURE.md ("Who may include whom").

usage: check_layers.py TOP

Every quoted include is a path from src/ or from the top, so the layer of the included file is its
first folder. A layer may include itself and what ALLOWED gives it, nothing else.
"""
import pathlib
import re
import sys

LINK = {"transport/link.h", "transport/handshake.h"}
ALLOWED = {
    "base": set(),
    "codec": {"base"},
    "loop": {"base"},
    "net": {"base", "loop"},
    "hub": {"base"},
    "store": {"base", "hub"},
    "transport": {"base", "codec", "loop", "net"},
    # Timers (heart-beats, acknowledgements that never come), nothing else of the loop.
    "dialect": {"base", "codec", "hub", "loop/timer.h"} | LINK,
    "broker": {"base", "codec", "loop", "net", "hub"},
    "client": {"base", "codec", "loop", "net", "transport", "dialect", "madang"},
    "server": {"base", "codec", "loop", "net", "hub", "store", "transport", "dialect", "broker",
               "client", "madang"},
}
# Users of the library see its public header only, and what lies beside them.
PUBLIC_ONLY = ("cmd", "examples", "tests/targets", "tests/bench")
# Beside the code but never in the library.
FOR_TESTS = ("_test.c", "_world.h", "_fake.h")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def public_only(path, included, top):
    """True when the file may include it: the public header, or a file beside it."""
    if included.startswith("madang/"):
        return True
    if included.startswith("tests/support/") and path.name.endswith("_test.c"):
        return True
    return (path.parent / included).exists() or (
        included.startswith(PUBLIC_ONLY) and (top / included).exists())


def in_layer(path, layer, included):
    # A test brings its own helpers, and a loop for timers and sockets.
    if path.name.endswith(FOR_TESTS) and included.startswith(("tests/", "loop/")):
        return True
    first = included.split("/")[0]
    return first == layer or first in ALLOWED[layer] or included in ALLOWED[layer]


def violations(top):
    paths = [p for part in ("src", "cmd", "examples", "tests") for p in (top / part).rglob("*.[ch]")]
    for path in sorted(paths):
        name = path.relative_to(top).as_posix()
        folder = name.split("/")
        for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if folder[0] == "src":
                if folder[1] not in ALLOWED:
                    yield f"{name}: layer {folder[1]} is unknown to tools/check_layers.py"
                elif "/" not in included:
                    yield f'{name}: "{included}" is not a path from src/'
                elif not in_layer(path, folder[1], included):
                    yield f'{name}: layer {folder[1]} may not include "{included}"'
            elif name.startswith(PUBLIC_ONLY) and not public_only(path, included, top):
                yield f'{name}: only the public header may be included here, not "{included}"'


def main():
    found = list(violations(pathlib.Path(sys.argv[1])))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Holds the rules of CONTRIBUTING.md that a compiler does not: banned functions, no notes of work
left undone, no C file included by another, a comment that says what each file is for (at its head,
or in the header of the same name).

usage: check_style.py TOP
"""
import pathlib
import re
import sys

BANNED = re.compile(
    r"\b(sprintf|vsprintf|strcpy|strcat|strncpy|strtok|gets|atoi|atol|rand|srand|alloca|localtime|"
    r"gmtime|asctime|ctime|select|signal|system|popen|tmpnam|mktemp)\s*\(")
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
UNDONE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def blank(match):
    """Keeps line numbers right while comments and strings are cut out."""
    return re.sub(r"[^\n]", " ", match.group())


def problems(path):
    text = path.read_text(encoding="utf-8")
    described = text.startswith("/*") or path.with_suffix(".h").exists()
    if not described and not path.name.endswith("_test.c"):
        yield 1, "no comment at the head that says what the file is for"
    for number, line in enumerate(text.split("\n"), 1):
        if UNDONE.search(line):
            yield number, "work left undone belongs in an issue, not in the code"
        if re.match(r'\s*#\s*include\s+"[^"]*\.c"', line):
            yield number, "a C file is compiled, not included"
    for number, line in enumerate(COMMENT_OR_STRING.sub(blank, text).split("\n"), 1):
        for name in BANNED.findall(line):
            yield number, f"{name}() is banned"


def main():
    top = pathlib.Path(sys.argv[1])
    paths = [p for part in ("src", "include", "cmd", "examples", "tests", "fuzz")
             for p in (top / part).rglob("*.[ch]")]
    found = [f"{path.relative_to(top)}:{number}: {text}"
             for path in sorted(paths) for number, text in problems(path)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

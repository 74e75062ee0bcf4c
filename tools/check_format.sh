#!/bin/sh
# usage: tools/check_format.sh TOP
# Formatting is clang-format 14's (make format).
cd "$1" || exit 1
find src include cmd examples tests fuzz ui -name '*.[ch]' |
    xargs clang-format-14 --dry-run --Werror

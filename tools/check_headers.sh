#!/bin/sh
# usage: tools/check_headers.sh TOP
# Every header includes what it needs: each one compiles alone (CONTRIBUTING.md).
set -eu
cd "$1"
status=0
for header in $(find src include -name '*.h'); do
    printf '#include "%s"\n' "$PWD/$header" |
        gcc -std=c11 -D_GNU_SOURCE -fsyntax-only -Isrc -Iinclude -I. -x c - || {
        echo "$header does not compile alone"
        status=1
    }
done
exit $status

#!/bin/sh
# usage: tools/check_man.sh TOP
# Manual pages are free of mandoc's warnings.
cd "$1" || exit 1
ls doc/man/*.[1-8] >/dev/null 2>&1 || exit 77
mandoc -Tlint -Wwarning doc/man/*.[1-8]

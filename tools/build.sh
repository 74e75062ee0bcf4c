#!/usr/bin/env bash
# usage: tools/build.sh DIR [meson options]
# Configures DIR when it is new, builds it, and shows output only when something goes wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1
shift

log=$dir/build.log
mkdir -p "$dir"
start=$SECONDS
if [ ! -f "$dir/build.ninja" ]; then
    printf 'build: configuring %s\n' "$dir"
    meson setup "$dir" "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
elif [ $# -gt 0 ] && [ "$(cat "$dir/.options" 2>/dev/null)" != "$*" ]; then
    printf 'build: reconfiguring %s\n' "$dir"
    meson configure "$dir" "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
[ $# = 0 ] || echo "$*" >"$dir/.options"
ninja -C "$dir" -n 2>/dev/null | grep -q 'no work to do' && exit 0
printf 'build: compiling in %s\n' "$dir"
ninja -C "$dir" >"$log" 2>&1 || { grep -vE '^\[[0-9]+/[0-9]+\]' "$log" | head -100 >&2; exit 1; }
printf 'build: %s is ready (%d s)\n' "$dir" $((SECONDS - start))

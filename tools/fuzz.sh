#!/usr/bin/env bash
# usage: tools/fuzz.sh TARGET SECONDS
# Replays the corpus of one libFuzzer target (fuzz/corpus/NAME), then looks for new inputs. What it
# finds lies beside the target; the output is shown only when the target failed.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1 seconds=$2
name=$(basename "$target" _fuzz)
work=$(dirname "$target")/work-$name
mkdir -p "$work"
args=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -artifact_prefix="$work-")
[ ! -f "fuzz/dict/$name.dict" ] || args+=(-dict="fuzz/dict/$name.dict")
corpus=("$work")
[ ! -d "fuzz/corpus/$name" ] || corpus+=("fuzz/corpus/$name")
if ! "$target" "${args[@]}" "${corpus[@]}" >"$work.log" 2>&1; then
    echo "FAILED fuzz $name"
    tail -40 "$work.log"
    exit 1
fi

#!/usr/bin/env bash
# usage: tools/ci.sh [check|asan|tsan|fuzz|lint]
# "check" (the default) installs what is missing, builds, and runs every test from unit to browser.
# The last line is "N passed, N failed" (with ", N skipped" when some were); the exit status is 0
# when none failed. FUZZ_SECONDS (default 5) is the time for each fuzzer.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- check

passed=0 failed=0 skipped=0
start=$SECONDS

say() { printf '%s: %s\n' "$(printf '%3d s' $((SECONDS - start)))" "$*"; }
add() {
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    say "$4: $1 passed, $2 failed$([ "$3" = 0 ] || printf ', %d skipped' "$3")"
}
finish() {
    local line="$passed passed, $failed failed"
    [ $skipped = 0 ] || line="$line, $skipped skipped"
    echo "$line"
    [ $failed = 0 ] && [ $passed -gt 0 ]
    exit
}
# A stage that cannot even be built is one failure, and the other stages still run.
build() { CC=${CC:-gcc} tools/build.sh "$@" || { add 0 1 0 "building $1"; return 1; }; }
unit_asan() { CC=clang-14 build build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dfuzzers=true; }

# meson_tests NAME DIR ARGS...: one Meson run, counted case by case.
meson_tests() {
    local name=$1 dir=$2
    shift 2
    say "$name"
    rm -f "$dir"/meson-logs/testlog.json
    meson test -C "$dir" --no-rebuild --quiet "$@" >"$dir/test.log" 2>&1
    local counts
    counts=$(tools/count_tests.py "$dir/meson-logs/testlog.json") || counts="0 1 0"
    if [ "$(echo "$counts" | cut -d" " -f2)" != 0 ] && [ -z "${AGAIN:-}" ]; then
        say "$name: some failed; once more, in case the machine was busy:"
        grep -E 'FAIL|TIMEOUT|ERROR' "$dir/test.log" | head -20
        AGAIN=1 meson_tests "$name" "$dir" "$@"
        return
    fi
    # shellcheck disable=SC2086
    add $counts "$name"
}

lint() {
    build build-check || return
    meson_tests lint build-check --suite lint
}
unit() {
    build build-check || return
    meson_tests unit build-check --suite unit
}
# e2e_tests NAME LOG [arguments of run.mjs]
e2e_tests() {
    local name=$1 log=$2 last
    shift 2
    say "$name"
    node tests/e2e/run.mjs "$@" | tee "$log"
    last=$(tail -1 "$log")
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]]; then
        add "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[4]:-0}" "$name"
    else
        add 0 1 0 "$name"
    fi
}
asan() {
    unit_asan || return
    ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        meson_tests "unit under ASan and UBSan" build-asan --suite unit -t 4
    # The client side has no unit tests of its connections: the tool is what runs them.
    MADANG=$PWD/build-asan/madang e2e_tests "the tool under ASan and UBSan" build-asan/e2e.log \
        --workers 1 tests/e2e/cli*_test.mjs
}
tsan() {
    CC=clang-14 build build-tsan -Db_sanitize=thread -Db_lundef=false || return
    meson_tests "unit under TSan" build-tsan --suite unit -t 4
}
fuzz() {
    unit_asan || return
    local targets output bad
    targets=$(find build-asan/fuzz -maxdepth 1 -name '*_fuzz' -type f -executable)
    say "fuzz: $(echo "$targets" | wc -l) targets, ${FUZZ_SECONDS:-5} s each"
    output=$(echo "$targets" | xargs -P 2 -I{} tools/fuzz.sh {} "${FUZZ_SECONDS:-5}")
    [ -z "$output" ] || echo "$output"
    bad=$(echo "$output" | grep -c '^FAILED fuzz')
    add $(($(echo "$targets" | wc -l) - bad)) "$bad" 0 fuzz
}
e2e() {
    build build --buildtype=release -Db_lto=true -Dwerror=false || return
    [ -f tests/e2e/run.mjs ] || return
    e2e_tests "end to end" build/e2e.log
}

case $1 in
check)
    tools/setup.sh || { add 0 1 0 "set-up"; finish; }
    lint
    unit
    e2e
    asan
    tsan
    FUZZ_SECONDS=${FUZZ_SECONDS:-5} fuzz
    ;;
asan | tsan | fuzz | lint) "$1" ;;
*)
    echo "usage: tools/ci.sh [check|asan|tsan|fuzz|lint]" >&2
    exit 2
    ;;
esac
finish

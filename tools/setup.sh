#!/usr/bin/env bash
# Installs what building and testing madang needs on Debian 12: apt packages, npm packages (into
# node_modules) and the C source of llhttp (into build/deps). Installs only what is missing and
# says nothing when all is there. Runs as root, or with sudo.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(
    # build
    gcc make meson ninja-build pkg-config libssl-dev zlib1g-dev libsqlite3-dev liburing-dev
    libjansson-dev libyaml-dev python3
    # sanitizers, fuzzers, format, manual pages, memory checks
    clang-14 libclang-rt-14-dev clang-format-14 mandoc valgrind libcmocka-dev binutils
    # clients, peers and proxies that the tests and benchmarks talk to
    curl netcat-openbsd openssl python3-stomp libwebsockets-dev libhiredis-dev redis-server
    nginx-light haproxy tinyproxy procps iproute2
    # the browser of the page's tests
    chromium fonts-noto-cjk
    # npm's own needs
    ca-certificates
)

say() { printf 'setup: %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "root is needed for: $*" >&2
        exit 1
    fi
}

updated=no
apt_update() {
    [ $updated = no ] || return 0
    say "apt-get update"
    as_root apt-get -qq update
    updated=yes
}

missing=()
installed=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' "${packages[@]}" 2>/dev/null || true)"
for package in "${packages[@]}"; do
    [[ $installed == *" installed=$package "* ]] || missing+=("$package")
done
# Asked for by command: a nodejs from elsewhere brings its own npm and conflicts with Debian's.
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)

if [ ${#missing[@]} -gt 0 ]; then
    apt_update
    say "apt-get install ${missing[*]}"
    # Packages that bring a service must not start it here.
    policy=/usr/sbin/policy-rc.d
    made_policy=no
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
        made_policy=yes
    fi
    status=0
    log=$(mktemp)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install \
        --no-install-recommends "${missing[@]}" >"$log" 2>&1 || status=$?
    [ $made_policy = no ] || as_root rm -f $policy
    if [ $status -ne 0 ]; then
        tail -20 "$log" >&2
        say "apt-get failed; the whole log is in $log" >&2
        exit 1
    fi
    rm -f "$log"
fi

# Debian's node-llhttp cannot be installed beside a nodejs from elsewhere; only its C source is
# wanted (the oracle of a differential fuzz test), so it is unpacked, not installed.
llhttp=build/deps/usr/share/llhttp
if [ ! -d /usr/share/llhttp ] && [ ! -d $llhttp ]; then
    mkdir -p build/deps
    say "unpacking node-llhttp into build/deps"
    fetch_llhttp() { (cd build/deps && apt-get -qq download node-llhttp 2>/dev/null); }
    fetch_llhttp || { apt_update; fetch_llhttp || true; }
    for deb in build/deps/node-llhttp_*.deb; do
        [ -e "$deb" ] && dpkg -x "$deb" build/deps
    done
    [ -d $llhttp ] || say "node-llhttp cannot be had: the differential HTTP test will be skipped" >&2
fi

stamp=node_modules/.madang-lock
if ! cmp -s package-lock.json $stamp; then
    say "npm ci"
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
    cp package-lock.json $stamp
fi

#!/usr/bin/env bash
# Makes sure that the programs which a target needs are there: `packages.sh build` or `packages.sh test`.
#
# As root on a machine with apt they are installed, without starting any service that comes with them. Anywhere
# else the missing ones are named and the script fails, so that nothing is left out without a word.
set -euo pipefail

# Also for users whose PATH leaves these out: runc and containerd are there on Debian.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Debian package and the program, the file or, as in `a.py`, the module of Python by which its presence is known.
build='
gcc cc
libc6-dev /usr/include/stdio.h
make make
protobuf-compiler protoc
'
test="$build
busybox-static /bin/busybox
ca-certificates /etc/ssl/certs/ca-certificates.crt
chromium chromium
containerd containerd
curl curl
docker-registry docker-registry
jq jq
procps ps
prometheus promtool
python3 python3
python3-venv ensurepip.py
runc runc
skopeo skopeo
strace strace
tmux tmux
umoci umoci
"

# Whether program, file or module $1 is there.
is_there() {
    case $1 in
    *.py) python3 -c "import ${1%.py}" >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] ;;
    esac
}

# Prints the packages of list $1 whose program is not there.
missing() {
    local package program
    while read -r package program; do
        [ -n "$package" ] || continue
        is_there "$program" || printf '%s ' "$package"
    done <<<"$1"
}

# Installs packages while a policy keeps their services from being started.
install() {
    local policy=/usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
        # shellcheck disable=SC2064 # the path is wanted as it is now
        trap "rm -f '$policy'" EXIT
    fi
    apt-get -q update
    apt-get -q install -y --no-install-recommends "$@"
}

case ${1-} in
build) wanted=$build ;;
test) wanted=$test ;;
*)
    echo "usage: packages.sh build|test" >&2
    exit 2
    ;;
esac

if ! command -v cargo >/dev/null 2>&1 && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    echo "cargo is missing: install Rust 1.90 or newer, see https://rustup.rs" >&2
    exit 1
fi

lacking=$(missing "$wanted")
[ -n "$lacking" ] || exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing: $lacking"
    # shellcheck disable=SC2086 # a list of words
    install $lacking
    lacking=$(missing "$wanted")
    [ -n "$lacking" ] || exit 0
    echo "still missing after the installation: $lacking" >&2
    exit 1
fi
echo "these packages are missing: $lacking" >&2
echo "install them as root (on Debian: apt-get install $lacking), then try again" >&2
exit 1

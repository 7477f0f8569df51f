#!/usr/bin/env bash
# Fails unless a program is static: the agent runs in pods whose images may have no loader and no libraries.
set -euo pipefail

[ $# -eq 1 ] || {
    echo "usage: .ci/static.sh PROGRAM" >&2
    exit 2
}
headers=$(LC_ALL=C readelf --wide --program-headers --dynamic "$1")
# A loader that is asked for, or a library.
if grep -E 'INTERP|\(NEEDED\)' <<<"$headers"; then
    echo "$1 is not static: an image without these could not run it" >&2
    exit 1
fi

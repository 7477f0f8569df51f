#!/usr/bin/env bash
# Puts pyarrow into the target folder: an implementation of Parquet that is not ours, with which a test reads what
# `purser-replay export -f parquet` wrote. Nothing outside of that folder is changed.
set -euo pipefail

# All of its releases read the same files; which one is fixed so that a test does not change by itself.
version=23.0.1

cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-target}/pyarrow

is_there() {
    [ "$("$folder/bin/python" -c 'import pyarrow; print(pyarrow.__version__)' 2>/dev/null)" = "$version" ]
}

! is_there || exit 0
mkdir -p "$(dirname "$folder")"
rm -rf "$folder"
python3 -m venv "$folder"
# As it was built by its authors, and nothing that it could do more with.
"$folder/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: --no-deps "pyarrow==$version"
is_there && exit 0
echo "pyarrow $version was installed to $folder and cannot be loaded there" >&2
exit 1

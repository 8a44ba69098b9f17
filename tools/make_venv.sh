#!/bin/sh
# Makes a virtual environment at $1 with the first Python of 3.11 or later: $PYTHON, python3, or one named by version.
# Says in one line what is missing, and ends with status 1, if there is none.
set -eu

recent='import sys; sys.exit(sys.version_info < (3, 11))'
python=
for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c "$recent" >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Python 3.11 or later is missing: install it, or name it (make PYTHON=/path/to/python3.11 ...)" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    echo "$python has no venv module with pip: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2
    exit 1
fi
"$python" -m venv --clear "$1"

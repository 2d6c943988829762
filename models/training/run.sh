#!/bin/sh
# Makes the Python environment once (exact versions, checked by hash) and runs one of the programs here in it.
#   run.sh train [--out DIR]      run.sh evaluate --model DIR --prices FILE [--on-demand FILE]
#   run.sh install                makes the environment only
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${MODELS_VENV:-$here/.venv}
python=${PYTHON:-python3}
if ! cmp -s "$here/requirements.txt" "$venv/installed"; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "models/training needs Python 3.11 or newer; set PYTHON to one" >&2
    exit 1
  }
  "$python" -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$venv/installed"
fi
program=$1
shift
[ "$program" != install ] || exit 0
# What is made must not depend on the order of a set.
export PYTHONHASHSEED=0
exec "$venv/bin/python" "$here/$program.py" "$@"

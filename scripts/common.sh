# Functions for the other scripts, which source this file: find Python 3.11 or later, and install requirements.
# shellcheck shell=bash

fail() {
  echo "${0##*/}: $1" >&2
  exit 1
}

# Set $python to an interpreter of Python 3.11 or later that can create virtual environments. PYTHON overrides the choice.
find_python() {
  for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv module: install it (Debian and Ubuntu: apt install python3-venv)."
      return
    fi
  done
  fail "Python 3.11 or later is needed and was not found: install it, or set PYTHON=/path/to/python3."
}

# Install a file of pinned requirements into .venv, unless it has already been installed.
install() {
  cmp --silent "$1" ".venv/$1" && return
  echo "Installing $1 into .venv; this takes a minute the first time." >&2
  .venv/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$1" ||
    fail "pip could not install $1: see above, and run this again."
  cp "$1" ".venv/$1"
}

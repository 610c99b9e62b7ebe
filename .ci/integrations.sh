#!/usr/bin/env bash
# Runs the tests of the integrations, each in an environment of its own: the tools cannot share one.
#   bash .ci/integrations.sh [name …]     all of them by default
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

ax() {
  python3 -m venv "$folder/ax"
  # Ax takes any torch; asked for by itself and exactly, a build for the CPU is taken where there is one.
  "$folder/ax/bin/pip" install --quiet "torch==2.13.0"
  "$folder/ax/bin/pip" install --quiet -e ".[ax,testing]" "pyfakefs>=5.8" "tensorboard>=2.20" "pytest-xdist>=3.7" "pytest-timeout>=2.4"
  "$folder/ax/bin/python" -m pytest -q -n 2 --confcutdir=tests/integrations tests/integrations/ax
  "$folder/ax/bin/python" -m pytest -q --confcutdir=tests/docs -k integrations.ax tests/docs/test_docstrings.py
}

for name in "${@:-ax}"; do
  echo "integrations: $name"
  SECONDS=0
  "$name"
  echo "integrations: $name took $SECONDS s"
done

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
  "$folder/ax/bin/pip" install --quiet --upgrade pip # an older one searches for minutes
  # Ax takes any torch; asked for by itself and exactly, a build for the CPU is taken where there is one.
  "$folder/ax/bin/pip" install --quiet "torch==2.13.0"
  "$folder/ax/bin/pip" install --quiet -e ".[ax,testing]" "pyfakefs>=5.8" "tensorboard>=2.20" "pytest-xdist>=3.7" "pytest-timeout>=2.4"
  "$folder/ax/bin/python" -m pytest -q -n 2 --confcutdir=tests/integrations tests/integrations/ax
  "$folder/ax/bin/python" -m pytest -q --confcutdir=tests/docs -k integrations.ax tests/docs/test_docstrings.py
}

optuna() {
  # The current release, and the last one of the major version before.
  for release in "5.0.*" "4.9.*"; do
    python3 -m venv "$folder/optuna"
    "$folder/optuna/bin/pip" install --quiet --upgrade pip # an older one searches for minutes
    "$folder/optuna/bin/pip" install --quiet -e ".[optuna,s3,testing]" "optuna==$release" "optuna-dashboard>=0.21" "grpcio>=1.74" "protobuf>=6.31" \
      "plotly>=6.0" "pandas>=2.2" "scikit-learn>=1.7" "cmaes>=0.12" "fakeredis[lua]>=2.30" "moto[s3,server]>=5.2" "boto3>=1.43" "s3fs>=2026.9" "aiobotocore>=3.10" \
      "adlfs>=2026.8" "gcsfs>=2026.10" "gcp-storage-emulator>=2026.7" "psycopg[binary]>=3.2" "pymysql>=1.1" \
      "pytest-xdist>=3.7" "pytest-timeout>=2.4"
    "$folder/optuna/bin/python" -m pytest -q -n 2 --confcutdir=tests tests/integrations/optuna
    rm -rf "$folder/optuna"
  done
}

mlos_bench() {
  python3 -m venv "$folder/mlos_bench"
  "$folder/mlos_bench/bin/pip" install --quiet --upgrade pip
  "$folder/mlos_bench/bin/pip" install --quiet -e ".[mlos,testing]" "mlos_viz>=0.6.2" "pytest-xdist>=3.7" "pytest-timeout>=2.4" \
    "duckdb-engine>=0.17" "psycopg[binary]>=3.2" "pymysql>=1.1"
  "$folder/mlos_bench/bin/python" -m pytest -q -n 2 --confcutdir=tests/integrations tests/integrations/mlos_bench
  "$folder/mlos_bench/bin/python" -m pytest -q --confcutdir=tests/docs -k integrations.mlos_bench tests/docs/test_docstrings.py
}

orion() {
  python3 -m venv "$folder/orion"
  # pip 26.3 refuses Oríon: an extra of it that nobody asks for names a repository.
  "$folder/orion/bin/pip" install --quiet "pip<26.3"
  "$folder/orion/bin/pip" install --quiet -e ".[orion,testing]" "pytest-xdist>=3.7" "pytest-timeout>=2.4" "pandas>=2.2" "plotly>=6.0"
  # Its own tests are in its source alone. All of them: python -m tests.integrations.orion.suites SOURCE
  "$folder/orion/bin/pip" install --quiet "setuptools<81" wheel pytest-mock "scikit-learn>=1.7"
  "$folder/orion/bin/pip" download --quiet --no-binary :all: --no-deps --no-build-isolation --dest "$folder/source" "orion==0.2.7"
  tar -xf "$folder"/source/orion-0.2.7.tar.gz -C "$folder/source"
  TRIALSTORE_ORION_SOURCE="$folder/source/orion-0.2.7" \
    "$folder/orion/bin/python" -m pytest -q -n 2 --confcutdir=tests/integrations tests/integrations/orion
  "$folder/orion/bin/python" -W ignore -m pytest -q --confcutdir=tests/docs -k integrations.orion tests/docs/test_docstrings.py
}

[ $# -gt 0 ] || set -- ax optuna mlos_bench orion
for name in "$@"; do
  echo "integrations: $name"
  SECONDS=0
  "$name"
  echo "integrations: $name took $SECONDS s"
done

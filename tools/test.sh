#!/bin/bash
# What `make test` runs after the unit tests: the suite under event, and a short one under the MPMs
# that keep a worker for each channel. Beside it the module is built by the other compiler, whose
# warnings do not depend on optimization.
set -euo pipefail
cd "$(dirname "$0")/.."
exec perl t/SUITE -also 'make -s CC=clang OPT=-O0 BUILD=build/clang all' event worker prefork

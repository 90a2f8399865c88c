#!/bin/bash
# What `make test` runs after the unit tests: the suite under event, and a short one under the MPMs that keep a worker for each channel.
set -euo pipefail
cd "$(dirname "$0")/.."

# The module must build with both compilers.
make -s CC=clang BUILD=build/clang all

MPM=event perl t/TEST
for mpm in worker prefork; do
    MPM=$mpm perl t/TEST
done

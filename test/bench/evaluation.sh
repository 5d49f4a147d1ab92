#!/bin/bash
# evaluation.sh
#		The pure evaluation of a rule, without a server.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=$(mktemp)
trap 'rm -f "$program"' EXIT
gcc -O2 -Isrc -isystem "$(pg_config --includedir-server)" test/bench/evaluation.c src/alerts/evaluation.c \
	-o "$program" -L"$(pg_config --pkglibdir)" -L"$(pg_config --libdir)" -lpgcommon -lpgport -lm
"$program"

#!/bin/bash
# Instructions of a statement in a stand-alone backend, and how often it asks
# for memory, by callgrind: the difference between a thousand and two thousand
# of them, so that the start of the backend does not count.  The same at every
# run, unlike time.
set -euo pipefail

if ! command -v valgrind >/dev/null; then
	for name in 'untracked SELECT' 'untracked INSERT' 'tracked INSERT'; do
		echo "$name, instructions||x|pg_stat_statements|"
		echo "$name, allocations|||without|"
	done
	exit
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
initdb -D "$dir/data" -U postgres -A trust --no-sync >/dev/null

single() { postgres --single -D "$dir/data" -c jit=off -c shared_preload_libraries="$1" postgres; }

{
	echo "CREATE EXTENSION deploydb;"
	echo "CREATE TABLE decision_insights (id bigint PRIMARY KEY, decision_id text NOT NULL, state jsonb NOT NULL);"
	echo "CREATE UNIQUE INDEX ON decision_insights (decision_id);"
	echo "CREATE TABLE other (id bigint PRIMARY KEY, v int);"
	echo "INSERT INTO other SELECT n, n FROM generate_series(1, 5000) n;"
	echo "VACUUM ANALYZE;"
} | single deploydb >"$dir/log" 2>&1

# statements NAME FIRST COUNT
statements()
{
	local n
	for ((n = $2; n < $2 + $3; n++)); do
		case $1 in
			'untracked SELECT') echo "SELECT v FROM other WHERE id = $((n % 5000 + 1));" ;;
			'untracked INSERT') echo "INSERT INTO other VALUES ($((n + 1000000)), 1);" ;;
			'tracked INSERT') echo "INSERT INTO decision_insights VALUES ($n, '$n', '{\"a\": 1}');" ;;
		esac
	done
}

# The server's functions that give memory, and those below them.
ALLOCATORS='^(palloc|palloc0|palloc_extended|repalloc|repalloc_huge|MemoryContextAlloc[A-Za-z]*|malloc|calloc|realloc)$'

# costs LIBRARIES NAME COUNT: instructions and allocations, each on a copy of
# the same data.
costs()
{
	rm -rf "$dir/copy"
	cp -a "$dir/data" "$dir/copy"
	statements "$2" 10000 "$3" >"$dir/sql"
	valgrind --tool=callgrind --callgrind-out-file="$dir/calls" --compress-strings=no \
		postgres --single -D "$dir/copy" -c jit=off -c fsync=off -c shared_preload_libraries="$1" postgres \
		<"$dir/sql" >/dev/null 2>&1
	awk -F= -v allocators="$ALLOCATORS" '
		$1 == "cfn" { called = $2 }
		$1 == "calls" && called ~ allocators { allocations += $2 }
		/^totals: / { split($0, totals, " ") }
		END { printf "%d %d\n", totals[2], allocations }' "$dir/calls"
}

# Of one statement: "instructions allocations"
per_statement()
{
	echo "$(costs "$1" "$2" 1000) $(costs "$1" "$2" 2000)" |
		awk '{ printf "%d %.2f\n", ($3 - $1) / 1000, ($4 - $2) / 1000 }'
}

for name in 'untracked SELECT' 'untracked INSERT' 'tracked INSERT'; do
	read -r without plain < <(per_statement '' "$name")
	read -r with allocations < <(per_statement deploydb "$name")
	read -r beside _ < <(per_statement pg_stat_statements "$name")
	echo "$name, instructions|$with||without|$without"
	echo "$name, instructions ratio|$(awk "BEGIN { printf \"%.4f\", $with / $without }")|x|pg_stat_statements|$(awk "BEGIN { printf \"%.4f\", $beside / $without }")"
	echo "$name, allocations|$allocations||without|$plain"
done

#!/bin/bash
# Eight clients on one tracked table: transactions a second with counting on
# and off, in turns, medians of the rounds.
set -euo pipefail
rounds=${DEPLOYDB_BENCH_SCALE_ROUNDS:-7}
psql -Xqc "CREATE EXTENSION deploydb" -c "CREATE TABLE decision_insights (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int)"
script=$(mktemp)
trap 'rm -f "$script" "$script".*' EXIT
echo "INSERT INTO decision_insights (v) VALUES (1);" >"$script"
chmod a+r "$script"
for ((round = 0; round < rounds; round++)); do
	for counting in on off; do
		PGOPTIONS="-c deploydb.track_writes=$counting" pgbench -n -M prepared -c 8 -j 1 -T 4 -f "$script" 2>/dev/null |
			sed -n 's/^tps = \([0-9.]*\).*/\1/p' >>"$script.$counting"
	done
done
median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }
echo "8 clients on a tracked table|$(median "$script.on")|tps|not counted|$(median "$script.off")"

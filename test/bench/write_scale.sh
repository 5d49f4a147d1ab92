#!/bin/bash
# Eight clients on one tracked table: transactions a second on a server with
# deploydb and on one without, in turns; the ratio is the median of those of
# the rounds.
set -euo pipefail
rounds=${DEPLOYDB_BENCH_SCALE_ROUNDS:-11}
dir=$(mktemp -d)

stop() { pg_ctl -D "$dir/$1" -m immediate stop >/dev/null 2>&1 || true; }
trap 'stop deploydb; stop without; rm -rf "$dir"' EXIT

# start NAME PORT LIBRARIES
start()
{
	initdb -D "$dir/$1" -U postgres -A trust --no-sync >/dev/null
	cat >>"$dir/$1/postgresql.conf" <<-CONF
		unix_socket_directories = '$dir'
		listen_addresses = ''
		port = $2
		fsync = off
		autovacuum = off
		shared_preload_libraries = '$3'
	CONF
	pg_ctl -D "$dir/$1" -l "$dir/$1/log" -w start >/dev/null
	psql -Xq -h "$dir" -p "$2" -U postgres -d postgres -c 'CREATE EXTENSION deploydb' \
		-c 'CREATE TABLE decision_insights (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int)'
}

# throughput PORT
throughput()
{
	pgbench -h "$dir" -p "$1" -U postgres -n -M prepared -c 8 -j 1 -T 4 -f "$dir/script" postgres 2>/dev/null |
		sed -n 's/^tps = \([0-9.]*\).*/\1/p'
}

median() { cut -d' ' -f"$1" "$dir/rounds" | sort -g | sed -n "$(((rounds + 1) / 2))p"; }

echo "INSERT INTO decision_insights (v) VALUES (1);" >"$dir/script"
start deploydb 65000 deploydb
start without 65001 ''
for ((round = 0; round < rounds; round++)); do
	if ((round % 2)); then
		with=$(throughput 65000) without=$(throughput 65001)
	else
		without=$(throughput 65001) with=$(throughput 65000)
	fi
	echo "$with $without $(awk "BEGIN { print $with / $without }")" >>"$dir/rounds"
done
echo "8 clients on a tracked table|$(median 1)|tps|without|$(median 2)"
echo "8 clients, ratio|$(median 3)|x||"

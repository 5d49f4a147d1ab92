#!/bin/bash
#
# idle.sh
#		What a monitor costs that has nothing to tell, at the interval as it
#		comes, all built-in metrics, a migration that verifies, and a webhook that
#		has been used: CPU time as a share of the time, and memory that is neither
#		a file's nor shared with another process.  And whether an ordinary backend
#		has libcurl.
set -euo pipefail
if [ ! -r /proc/self/schedstat ]; then
	echo "idle monitor, CPU||%|at most|0.1"
	exit
fi
. "$(dirname "${BASH_SOURCE[0]}")/monitored.bash"

seconds=${DEPLOYDB_BENCH_IDLE_SECONDS:-180}

# cpu_time PID: nanoseconds on the processor
cpu_time() { cut -d ' ' -f 1 "/proc/$1/schedstat"; }

# own_memory PID: kB
own_memory()
{
	awk '/^[0-9a-f]+-/ { shared = $2 ~ /s/; file = $5 != 0 }
		/^Private_Clean:/ && !shared && !file { own += $2 }
		/^Private_Dirty:/ && !shared { own += $2 }
		END { print own }' "/proc/$1/smaps"
}

maps_of_curl() { grep -c libcurl "/proc/$1/maps" || true; }

# An ordinary backend that has used deploydb and the webhooks
backend_of_ours()
{
	coproc psql -X -q -A -t -d "$PGDATABASE"
	echo "SELECT deploydb_verify_migration() IS NULL, deploydb.notify('from a backend', 'P3', 'bench') \g /dev/null
		SELECT pg_backend_pid();" >&"${COPROC[1]}"
	read -r backend <&"${COPROC[0]}"
}

start_monitor
psql -X -q -d "$PGDATABASE" <<<'SELECT ddl FROM deploydb.builtin_migrations() \gexec'
sql "SELECT deploydb_verify_migration()" >/dev/null
set_server metrics_collection_interval 1s
wait_until "ticks >= 30 FROM deploydb.worker_status"

# As autovacuum does: with new statistics all plans are made anew
sql "VACUUM ANALYZE"
ticks=$(sql "SELECT ticks FROM deploydb.worker_status")
wait_until "ticks >= $ticks + 5 FROM deploydb.worker_status"
backend_of_ours
wait_until "count(*) = 1 FROM deploydb.notification WHERE state = 'delivered'"
set_server metrics_collection_interval 30s
ticks=$(sql "SELECT ticks FROM deploydb.worker_status")
wait_until "ticks > $ticks FROM deploydb.worker_status"

pid=$(sql "SELECT pid FROM deploydb.worker_status")
ticks=$(sql "SELECT ticks FROM deploydb.worker_status")
cpu=$(cpu_time "$pid")
start=$(date +%s%N)
sleep "$seconds"
cpu=$(($(cpu_time "$pid") - cpu))
elapsed=$(($(date +%s%N) - start))
ticks=$(($(sql "SELECT ticks FROM deploydb.worker_status") - ticks))

awk -v cpu="$cpu" -v elapsed="$elapsed" -v ticks="$ticks" -v own="$(own_memory "$pid")" -v other="$(own_memory "$backend")" 'BEGIN {
	printf "idle monitor, CPU|%.4f|%%|at most|0.1\n", 100 * cpu / elapsed
	printf "idle monitor, CPU of a tick|%.1f|ms|at most|30\n", cpu / ticks / 1e6
	printf "idle monitor, own memory|%.1f|MB|at most|15\n", own / 1024
	printf "backend, own memory|%.1f|MB|the monitor|%.1f\n", other / 1024, own / 1024
}'
echo "backend, maps of libcurl|$(maps_of_curl "$backend")|maps|the monitor|$(maps_of_curl "$pid")"

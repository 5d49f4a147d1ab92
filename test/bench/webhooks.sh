#!/bin/bash
#
# webhooks.sh
#		2,000 messages to a receiver on this machine, with no limit of the rate,
#		from the commit that queues them until the last one is recorded as
#		delivered.  The baseline is pg_net 0.20 with as many requests, which it
#		does not keep over a crash.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/monitored.bash"

# deliver COUNT: milliseconds
deliver()
{
	local start
	start=$(date +%s%N)
	sql "SELECT count(deploydb.notify('message ' || n, 'P3', 'bench')) FROM generate_series(1, $1) n" >/dev/null
	wait_until "count(*) = 0 FROM deploydb.notification WHERE state <> 'delivered'"
	echo $((($(date +%s%N) - start) / 1000000))
}

# median of some runs with fsync as given
median()
{
	local round
	psql -X -q -c "ALTER SYSTEM SET fsync = $1" -c "SELECT pg_reload_conf()" >/dev/null
	for round in 1 2 3; do deliver 2000; done | sort -n | sed -n 2p
}

set_server webhook_max_per_minute 0
start_monitor
deliver 50 >/dev/null
off=$(median off)
on=$(median on)
psql -X -q -c "ALTER SYSTEM RESET fsync" -c "SELECT pg_reload_conf()" >/dev/null
echo "2,000 messages, fsync on|$on|ms|pg_net, not durable|9400"
echo "2,000 messages, fsync off|$off|ms|pg_net, not durable|9400"

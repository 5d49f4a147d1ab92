#!/bin/bash
#
# webhooks.sh
#		2,000 messages to a receiver on this machine, with no limit of the rate,
#		from the commit that queues them until the last one is recorded as
#		delivered.  The baseline is pg_net 0.20 with as many requests, which it
#		does not keep over a crash.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$PGDATABASE" -c "$1"; }

set_server()
{
	sql "ALTER SYSTEM SET deploydb.$1 = '$2'"
	sql "SELECT pg_reload_conf()" >/dev/null
}

end()
{
	[ -z "${receiver:-}" ] || kill "$receiver"
	for setting in monitor databases webhook_allow webhook_max_per_minute; do
		sql "ALTER SYSTEM RESET deploydb.$setting"
	done
	sql "SELECT pg_reload_conf()" >/dev/null
	rm -rf "$work"
}
trap end EXIT

perl -I"$here/../lib" -MReceiver -e '
	$| = 1;
	my $receiver = Receiver->new("$ARGV[0]/received");
	print $receiver->url("/ok/bench"), "\n";
	$SIG{TERM} = sub { $receiver->stop; exit 0 };
	sleep 600' "$work" >"$work/url" &
receiver=$!
until [ -s "$work/url" ]; do sleep 0.1; done

sql "CREATE EXTENSION deploydb"
set_server webhook_allow 127.0.0.1
set_server webhook_max_per_minute 0
set_server databases "$PGDATABASE"
set_server monitor on
sql "SELECT deploydb.add_webhook('bench', 'generic', '$(cat "$work/url")')" >/dev/null

# deliver COUNT: milliseconds
deliver()
{
	local start
	start=$(date +%s%N)
	sql "SELECT count(deploydb.notify('message ' || n, 'P3', 'bench')) FROM generate_series(1, $1) n" >/dev/null
	until [ "$(sql "SELECT count(*) FROM deploydb.notification WHERE state <> 'delivered'")" = 0 ]; do
		sleep 0.05
	done
	echo $((($(date +%s%N) - start) / 1000000))
}

deliver 50 >/dev/null
echo "webhooks_2000_messages|$(deliver 2000)|ms|pg_net|9400"

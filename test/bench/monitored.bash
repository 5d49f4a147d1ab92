# monitored.bash
#		Sourced by measurements of the monitor: a database whose monitor begins
#		when it is told to, and a receiver on this machine; all of it is undone at
#		exit.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
settings=()
receiver=

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$PGDATABASE" -c "$1"; }

# set_server SETTING VALUE
set_server()
{
	settings+=("$1")
	sql "ALTER SYSTEM SET deploydb.$1 = '$2'"
	sql "SELECT pg_reload_conf()" >/dev/null
}

undo()
{
	local setting
	[ -z "$receiver" ] || kill "$receiver"
	for setting in "${settings[@]}"; do sql "ALTER SYSTEM RESET deploydb.$setting"; done
	sql "SELECT pg_reload_conf()" >/dev/null
	rm -rf "$work"
}
trap undo EXIT

wait_until() { until [ "$(sql "SELECT $1")" = t ]; do sleep 0.05; done; }

# With the settings as they are by now: what is set later it reads when it comes to it
start_monitor()
{
	set_server monitor on
	wait_until "count(*) = 1 FROM deploydb.worker_status WHERE state = 'running'"
}

start_receiver()
{
	perl -I"$here/../lib" -MReceiver -e '
		$| = 1;
		my $receiver = Receiver->new("$ARGV[0]/received");
		print $receiver->url("/ok/bench"), "\n";
		$SIG{TERM} = sub { $receiver->stop; exit 0 };
		sleep 3600' "$work" >"$work/url" &
	receiver=$!
	until [ -s "$work/url" ]; do sleep 0.1; done
}

sql "CREATE EXTENSION deploydb"
start_receiver
set_server webhook_allow 127.0.0.1
set_server databases "$PGDATABASE"
sql "SELECT deploydb.add_webhook('bench', 'generic', '$(cat "$work/url")')" >/dev/null

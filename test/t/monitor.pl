# The launcher and the monitors: where they run, what ends them, and that they
# come back.
use strict;
use warnings;

use DBI;
use IO::Socket::INET;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('monitor');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1h'
deploydb.webhook_timeout = '60s'
deploydb.webhook_allow = '127.0.0.1'
max_worker_processes = 12
max_connections = 12
superuser_reserved_connections = 0
autovacuum = off
restart_after_crash = on
});
$node->start;

sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql) }

# psql may end before its input is written, as long as nobody can connect
sub wait_through_crash
{
	my ($database, $query) = @_;
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $stdout = '';
		eval { $node->psql($database, $query, stdout => \$stdout) };
		return if $stdout eq 't';
		select undef, undef, undef, 0.1;
	}
	die "timed out: $query";
}

sub wait_for
{
	my ($sql, $database) = @_;
	$node->poll_query_until($database // 'postgres', $sql) or die "waited in vain: $sql";
	return;
}

sub pid { return sql(shift, 'SELECT pid FROM deploydb.worker_status') }

# It has begun, and ticked since.
my $ticks = 'SELECT COALESCE(pid IS NOT NULL AND last_tick_at >= started_at, false) FROM deploydb.worker_status';
sub wait_until_ticks { return wait_for($ticks, shift) }

sub wait_until_gone
{
	my $database = shift;
	return wait_for(qq{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'deploydb monitor'
		AND datname = '$database')});
}

sub wait_for_another
{
	my ($database, $before) = @_;
	return wait_for(qq{SELECT COALESCE(pid <> $before AND last_tick_at >= started_at, false) FROM deploydb.worker_status}, $database);
}

# Terminates a process; when that was asked for.
sub terminate
{
	my ($at) = split /\n/, sql('postgres', "SELECT clock_timestamp(); SELECT pg_terminate_backend($_[0], 10000)");
	return $at;
}

sub set
{
	my ($setting, $value) = @_;
	sql('postgres', "ALTER SYSTEM SET $setting = $value");
	$node->reload;
	return;
}

sub status { return sql(shift, q{SELECT verdict, detail, next_step FROM deploydb_status() WHERE area = 'monitor'}) }

sub log_since { return slurp_file($node->logfile, shift) }

sub fails_with
{
	my ($database, $sql, $pattern, $name, @options) = @_;
	my ($status, $out, $err) = $node->psql($database, "\\set VERBOSITY verbose\n$sql", extra_params => \@options);
	return like($err, $pattern, $name);
}

# Where the extension is, from its commit on

sql('postgres', "CREATE DATABASE $_") for qw(one two three);
sql('one', 'BEGIN; CREATE EXTENSION deploydb; ROLLBACK');
sql($_, 'CREATE EXTENSION deploydb') for qw(two three);
wait_until_ticks($_) for qw(two three);
is(sql('postgres', q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity WHERE backend_type = 'deploydb monitor'}),
	'three two', 'a monitor in each database that has the extension, and in no other');
sql('one', 'CREATE EXTENSION deploydb');
wait_until_ticks('one');
is(sql('one', 'SELECT database, state, ticks, missed_ticks, restarts, last_error IS NULL FROM deploydb.worker_status'),
	'one|running|1|0|0|t', 'it is seen to run');
is(sql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'deploydb launcher' AND datname IS NULL}),
	'1', 'the launcher is in no database');
is(status('one'), 'ok|ticks every 1h|', 'the overview has it');
is(sql('one', 'SELECT deploydb.suspended() IS NULL, count(*) FROM deploydb.installation'), 't|1', 'the installation is of this database');
fails_with('one', "SELECT deploydb.${_}_monitor()", qr/55000.*launcher.*deploydb\.databases/s, "${_}_monitor() is for where nothing is preloaded")
  for qw(start stop);

# Waking it

my $woken = sql('one', 'BEGIN; SELECT deploydb.wake_monitor(); ROLLBACK; SELECT ticks FROM deploydb.worker_status');
is($woken, "t\n1", 'who rolls back wakes nobody');
is(sql('one', 'SELECT deploydb.wake_monitor()'), 't', 'there is one to wake');
wait_for('SELECT ticks >= 3 FROM deploydb.worker_status', 'one');
pass('woken, it ticks, and looks again');

# Events are told, each once

my $listener = $node->background_psql('one');
$listener->query('LISTEN deploydb_alert');
sql('one', q{INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, message, started_at, occurred_at)
	SELECT 'r', 'm', 'P0', 'firing', 'new', 'x', now(), now() FROM generate_series(1, 2); SELECT deploydb.wake_monitor()});
wait_for('SELECT notified_event = (SELECT max(id) FROM deploydb.alert_event) FROM deploydb.monitor_state', 'one');
my @told = $listener->query('SELECT 1') =~ /"deploydb_alert" with payload "(\d+)"/g;
is("@told", sql('one', q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM deploydb.alert_event}), 'NOTIFY has the id of each event');
$listener->quit;

# Settings, by reload

my $two = pid('two');
fails_with('postgres', q{ALTER SYSTEM SET deploydb.databases = 'one, "thr'}, qr/22023.*no list of names/s, 'what is no list of databases is not taken');
set('deploydb.databases', q{'ONE, "three", "TWO"'});
wait_until_gone('two');
is(sql('two', 'SELECT state, pid IS NULL FROM deploydb.worker_status'), 'stopped|t', 'a database that is not listed has none');
is(status('two'), 'warning|not in deploydb.databases|SHOW deploydb.databases;', 'which the overview says');
isnt(pid('one'), '', 'one that is listed has');
like(status('one'), qr/^ok\|ticks/, 'names are folded, unless they are quoted');
set('deploydb.databases', q{' '});
wait_for_another('two', $two);
set('deploydb.monitor', 'off');
wait_until_gone($_) for qw(one two three);
is(status('one'), 'warning|switched off|ALTER SYSTEM SET deploydb.monitor = on; SELECT pg_reload_conf();', 'switched off, none runs');
set('deploydb.monitor', 'on');
wait_until_ticks($_) for qw(one two three);
my ($before) = sql('one', 'SELECT ticks FROM deploydb.worker_status');
set('deploydb.metrics_collection_interval', q{'1s'});
wait_for("SELECT ticks > $before + 1 FROM deploydb.worker_status", 'one');
pass('a shorter interval is taken up at once');

# What it takes of transaction ids

set('deploydb.databases', 'one');
wait_until_gone($_) for qw(two three);
my $used = 'SELECT ticks, pg_snapshot_xmax(pg_current_snapshot()) FROM deploydb.worker_status';
my ($ticks_before, $xid_before) = split /\|/, sql('one', $used);
wait_for("SELECT ticks > $ticks_before + 5 FROM deploydb.worker_status", 'one');
my ($ticks_after, $xid_after) = split /\|/, sql('one', $used);
cmp_ok($xid_after - $xid_before, '<=', $ticks_after - $ticks_before + 1, 'idle, it takes one transaction id an interval');
sql('one', q{UPDATE deploydb.monitor_state SET last_tick_at = last_tick_at - interval '1 hour'});
wait_for('SELECT missed_ticks BETWEEN 3590 AND 3610 FROM deploydb.worker_status', 'one');
pass('ticks that were missed are counted');

# By jitter some ticks come early, which no delay makes them do

set('deploydb.metrics_collection_interval', q{'3s'});
sql('one', q{CREATE TABLE gaps (gap interval);
	CREATE FUNCTION note_gap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.gaps VALUES (NEW.last_tick_at - OLD.last_tick_at); RETURN NULL; END $$;
	CREATE TRIGGER note_gap AFTER UPDATE OF ticks ON deploydb.monitor_state FOR EACH ROW
		WHEN (OLD.interval_ms = 3000 AND NEW.interval_ms = 3000) EXECUTE FUNCTION note_gap()});
my $early = q{count(*) FILTER (WHERE gap < '2850 ms') > 0};
wait_for("SELECT count(*) > 1 AND $early OR count(*) >= 30 FROM gaps", 'one');
is(sql('one', "SELECT $early FROM gaps"), 't', 'an interval is shorter than the setting');
is(sql('one', q{SELECT count(*) FROM gaps WHERE gap NOT BETWEEN '1500 ms' AND '13300 ms'}), '0', 'but by little');
note(sql('one', 'SELECT string_agg(gap::text, $$ $$) FROM gaps'));
sql('one', 'DROP FUNCTION note_gap CASCADE; DROP TABLE gaps');
set('deploydb.metrics_collection_interval', q{'1s'});

# An error ends what it is in, and no more

my $one = pid('one');
sql('one', 'ALTER TABLE deploydb.write_epoch RENAME TO gone');
wait_for(q{SELECT last_error ~ 'take_write_sample: .*write_epoch' FROM deploydb.worker_status}, 'one');
sql('one', 'ALTER TABLE deploydb.gone RENAME TO write_epoch');
sql('one', q{CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
	CREATE TRIGGER breaks BEFORE UPDATE OF ticks ON deploydb.monitor_state FOR EACH ROW EXECUTE FUNCTION breaks()});
wait_for(q{SELECT last_error = 'tick: broken' FROM deploydb.worker_status}, 'one');
sql('one', 'DROP FUNCTION breaks CASCADE');
my $error_at = sql('one', 'SELECT last_error_at FROM deploydb.worker_status');
wait_for("SELECT last_tick_at > '$error_at' FROM deploydb.worker_status", 'one');
sql('one', "SELECT pg_cancel_backend($one)");
is(pid('one'), $one, 'broken ticks end no monitor');

# Ended, it comes back

set('deploydb.metrics_collection_interval', q{'1h'});
set('deploydb.databases', q{''});
wait_until_ticks($_) for qw(one two three);
my $restarts = sql('one', 'SELECT restarts FROM deploydb.worker_status');
foreach my $pause (1, 2, 4)
{
	$one = pid('one');
	my $ended_at = terminate($one);
	wait_for_another('one', $one);
	my $waited = sql('one', "SELECT extract(epoch FROM started_at - '$ended_at') FROM deploydb.worker_status");
	cmp_ok($waited, '>=', $pause - 0.01, "a monitor that was terminated waits for $pause s");
	cmp_ok($waited, '<', $pause + 10, 'and no longer');
}
is(sql('one', "SELECT restarts - $restarts FROM deploydb.worker_status"), '3', 'it tells how often');
$two = pid('two');
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'deploydb launcher'};
my $old = sql('postgres', $launcher);
my $ended_at = terminate($old);
wait_for("SELECT count(*) = 1 FROM ($launcher) l WHERE pid <> $old");
cmp_ok(sql('postgres', qq{SELECT extract(epoch FROM backend_start - '$ended_at') FROM pg_stat_activity
	WHERE backend_type = 'deploydb launcher'}), '<', 5 + 10, 'a launcher that was terminated is back in 5 s');
sql('three', 'DROP EXTENSION deploydb; CREATE EXTENSION deploydb');
wait_until_ticks('three');
is(pid('two'), $two, 'and the monitors went on');
for my $victim ($launcher, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'deploydb monitor' LIMIT 1})
{
	my $restarts = sql('one', 'SELECT restarts FROM deploydb.worker_status');
	kill 'KILL', sql('postgres', $victim);
	wait_through_crash('one', "SELECT restarts > $restarts AND pid IS NOT NULL FROM deploydb.worker_status");
	wait_until_ticks($_) for qw(two three);
}
pass('and after a crash all of them');

# Statements that need an empty database

sql('postgres', 'CREATE ROLE somebody LOGIN CREATEDB; CREATE ROLE nobody LOGIN');
$one = pid('one');
fails_with('postgres', $_, qr/42501/, "$_ by somebody who may not", '-U', 'somebody')
  for 'DROP DATABASE one', 'DROP DATABASE one WITH (FORCE)', 'ALTER DATABASE one RENAME TO x', 'ALTER DATABASE one SET TABLESPACE pg_default',
  'CREATE DATABASE x TEMPLATE one';
sql('postgres', 'ALTER DATABASE one OWNER TO nobody');
fails_with('postgres', $_, qr/42501/, "$_ by an owner who may not", '-U', 'nobody')
  for 'ALTER DATABASE one RENAME TO x', 'CREATE DATABASE x TEMPLATE one';
is(pid('one'), $one, 'leaves the monitor where it is');
fails_with('postgres', 'CREATE DATABASE two TEMPLATE one', qr/42P04/, 'one that fails');
wait_for_another('one', $one);
$one = pid('one');
fails_with('postgres', 'BEGIN; DROP DATABASE one', qr/25001/, 'and one that is refused');
wait_for_another('one', $one);
$one = pid('one');
my $space = PostgreSQL::Test::Utils::tempdir;
sql('postgres', "CREATE TABLESPACE space LOCATION '$space'");
sql('postgres', 'ALTER DATABASE one SET TABLESPACE space');
wait_for_another('one', $one);
is(sql('postgres', q{SELECT t.spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = 'one'}),
	'space', 'moved to another tablespace');

# Whoever renames waits for another session, and is ended meanwhile.
$one = pid('one');
my $other = $node->background_psql('one');
my $renaming = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', 'ALTER DATABASE one RENAME TO x' ], '>&', \my $refused);
wait_until_gone('one');
sql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE one RENAME%'});
$renaming->finish;
like($refused, qr/terminating connection|being accessed/, 'one whose session is ended');
$other->quit;
wait_for_another('one', $one);
sql('postgres', 'ALTER DATABASE one RENAME TO uno');
wait_until_ticks('uno');
is(sql('uno', 'SELECT database FROM deploydb.worker_status'), 'uno', 'renamed');
sql('uno', 'CREATE DATABASE other TEMPLATE uno');
pass('copied from within');
sql('postgres', 'DROP DATABASE other; CREATE DATABASE copy TEMPLATE uno');
wait_until_ticks($_) for qw(uno copy);
is(sql('copy', 'SELECT state, deploydb.suspended() ~ $$copy of database$$ FROM deploydb.worker_status'), 'suspended|t', 'a copy is suspended');
is(status('copy'), 'warning|a copy: sends nothing|SELECT deploydb.adopt();', 'which the overview says');
is(sql('uno', 'SELECT state FROM deploydb.worker_status'), 'running', 'what it is of is not');
sql('copy', q{SELECT deploydb.log_line('copied')});
foreach my $n (1 .. 5)
{
	my $before = sql('copy', 'SELECT ticks FROM deploydb.worker_status');
	sql('copy', 'SELECT deploydb.wake_monitor()');
	wait_for("SELECT ticks > $before FROM deploydb.worker_status", 'copy');
}
is(sql('copy', 'SELECT count(*) FROM deploydb.log_seal'), '0', 'nor does it keep the books, which may just be restored');
is(sql('copy', 'SELECT deploydb.adopt(), deploydb.adopt()'), 't|f', 'adopted');
is(sql('copy', 'SELECT state, deploydb.suspended() IS NULL FROM deploydb.worker_status'), 'running|t', 'it runs');
wait_for('SELECT deploydb.wake_monitor() AND unsealed = 0 FROM deploydb.verify_log()', 'copy');
sql('postgres', 'DROP DATABASE copy');
sql('uno', q{CREATE FUNCTION hangs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
	CREATE TRIGGER hangs BEFORE UPDATE OF ticks ON deploydb.monitor_state FOR EACH ROW EXECUTE FUNCTION hangs();
	SELECT deploydb.wake_monitor()});
wait_for(q{SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE backend_type = 'deploydb monitor' AND datname = 'uno'});
sql('postgres', 'DROP DATABASE uno');
sql('postgres', 'DROP TABLESPACE space');
is(sql('postgres', q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE NOT datistemplate}), 'postgres three two',
	'dropped, in the middle of a tick too');

# While receivers take messages and answer nothing

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "cannot listen: $!";
my $url = 'http://127.0.0.1:' . $silent->sockport;
sub send_into_silence
{
	my $database = shift;
	sql($database, qq{SELECT deploydb.add_webhook('silent' || n, 'generic', '$url/' || n) FROM generate_series(1, 20) n;
		SELECT deploydb.notify('anybody?')});
	return wait_for(q{SELECT count(*) = 20 FROM deploydb.notification WHERE state = 'sending'}, $database);
}
sql('postgres', 'CREATE DATABASE hanging');
sql('hanging', 'CREATE EXTENSION deploydb');
wait_until_ticks('hanging');
send_into_silence('hanging');
is(sql('hanging', 'SELECT backlog FROM deploydb.worker_status'), '20', 'twenty messages hang');
sql('postgres', 'CREATE DATABASE copy TEMPLATE hanging');
wait_until_ticks('copy');
is(sql('copy', q{SELECT count(*) FROM deploydb.notification WHERE state = 'sending'}), '0', 'a copy sends none of them');
sql('postgres', "DROP DATABASE $_") for qw(copy hanging);
pass('they keep no database from being dropped');

# Neither a template nor a database that takes no connections

sql('postgres', 'ALTER DATABASE two ALLOW_CONNECTIONS false; ALTER DATABASE three IS_TEMPLATE true');
wait_until_gone($_) for qw(two three);
sql('postgres', 'ALTER DATABASE two ALLOW_CONNECTIONS true; ALTER DATABASE three IS_TEMPLATE false');
wait_until_ticks($_) for qw(two three);
pass('templates and closed databases have none');

# Called while it waits for a lock, as it does for a page.  By itself the
# launcher looks around a minute after it last did.

$two = pid('two');
my $locker = DBI->connect('dbi:Pg:' . $node->connstr('postgres'), '', '', { RaiseError => 1 });
my $waits = q{SELECT count(*) FROM pg_locks WHERE relation = 'pg_database'::regclass AND NOT granted
	AND pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'deploydb launcher')};
$locker->do('BEGIN');
$locker->do('LOCK pg_database IN ACCESS EXCLUSIVE MODE');
$node->reload;
my $looks = 10 * $PostgreSQL::Test::Utils::timeout_default;
select undef, undef, undef, 0.1 until $locker->selectrow_array($waits) || --$looks < 0;
cmp_ok($looks, '>=', 0, 'the launcher waits for a lock');
my ($at) = $locker->selectrow_array("SELECT clock_timestamp(), pg_terminate_backend($two, 10000)");
# the postmaster calls, too
$locker->do('SELECT pg_sleep(1); COMMIT');
$locker->disconnect;
wait_for_another('two', $two);
cmp_ok(sql('two', "SELECT extract(epoch FROM started_at - '$at') FROM deploydb.worker_status"), '<', 50,
	'it starts a monitor that ended while it waited');

# The extension

$two = pid('two');
sql('two', 'BEGIN; DROP EXTENSION deploydb; ROLLBACK');
is(pid('two'), $two, 'nothing happens at ROLLBACK');
my $mark = -s $node->logfile;
sql('two', 'DROP EXTENSION deploydb');
wait_until_gone('two');
unlike(log_since($mark), qr/ERROR|FATAL|exit code 1/, 'at COMMIT it leaves, quietly');
sql('two', 'CREATE EXTENSION deploydb');
wait_until_ticks('two');
pass('at COMMIT another is started');
my $launcher_pid = sql('postgres', $launcher);
kill 'STOP', $launcher_pid;
sql('two', 'DROP EXTENSION deploydb');
wait_until_gone('two');
sql('two', 'CREATE EXTENSION deploydb');
kill 'CONT', $launcher_pid;
wait_until_ticks('two');
pass('created before the launcher knew that the monitor had left');
$two = pid('two');
sql('two', 'BEGIN; DROP EXTENSION deploydb; CREATE EXTENSION deploydb; COMMIT');
wait_for_another('two', $two);
pass('dropped and created in one transaction');
sql('two', q{UPDATE pg_extension SET extversion = '0.0.1' WHERE extname = 'deploydb'; SELECT deploydb.wake_monitor()});
wait_for(q{SELECT state = 'waiting' FROM deploydb.worker_status}, 'two');
like(status('two'), qr/^warning\|waits for newer SQL.objects\|ALTER EXTENSION deploydb UPDATE;$/s, 'the overview says what to do');
$node->wait_for_log(qr/monitor of deploydb waits.*ALTER EXTENSION deploydb UPDATE/s, $mark);
$before = sql('two', 'SELECT ticks FROM deploydb.worker_status');
sql('two', 'UPDATE pg_extension SET extversion = deploydb.library_version() WHERE extname = $$deploydb$$; SELECT deploydb.wake_monitor()');
wait_for("SELECT ticks > $before AND state = 'running' FROM deploydb.worker_status", 'two');
pass('with SQL objects of another version it waits');

# The role that made the cluster has another name

my $me = sql('postgres', 'SELECT current_user');
sql('postgres', 'CREATE ROLE other SUPERUSER LOGIN');
$two = pid('two');
{
	local $ENV{PGUSER} = 'other';
	sql('postgres', qq{ALTER ROLE "$me" RENAME TO another; SELECT pg_terminate_backend($two, 10000)});
	wait_for_another('two', $two);
	sql('postgres', qq{ALTER ROLE another RENAME TO "$me"});
}
pass('the monitor goes by no name');

# No connection left

my @connections;
while (my $dbh = DBI->connect('dbi:Pg:dbname=two;host=' . $node->host . ';port=' . $node->port, '', '', { PrintError => 0, RaiseError => 0 }))
{
	push @connections, $dbh;
}
cmp_ok(scalar @connections, '>', 1, 'every connection is taken');
($two) = $connections[0]->selectrow_array('SELECT pid FROM deploydb.worker_status');
$connections[0]->do("SELECT pg_terminate_backend($two, 10000)");
my $came_back;
for (1 .. 1000)
{
	($came_back) = $connections[0]->selectrow_array("SELECT pid <> $two FROM deploydb.worker_status");
	last if $came_back;
	select undef, undef, undef, 0.1;
}
ok($came_back, 'which the monitor does not need');
$_->disconnect for @connections;

# No worker left: one for the launcher, one for replication's, one for us

$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->stop('fast');
$mark = -s $node->logfile;
$node->start;
$node->wait_for_log(qr/no background worker left.*max_worker_processes/s, $mark);
my $full = q{SELECT string_agg(datname, '') FROM pg_stat_activity WHERE backend_type = 'deploydb monitor'};
wait_for("SELECT ($full) IS NOT NULL");
my $has = sql('postgres', $full);
my $lacks = $has eq 'two' ? 'three' : 'two';
sql($lacks, 'UPDATE deploydb.monitor_state SET started_at = NULL');
set('deploydb.metrics_collection_interval', q{'1s'});
wait_for(q{SELECT verdict = 'error' AND detail ~ '^not started' FROM deploydb_status() WHERE area = 'monitor'}, $lacks);
pass('one that never starts does not start for ever');
set('deploydb.metrics_collection_interval', q{'1h'});
my $said = () = log_since($mark) =~ /no background worker left/g;
is($said, 1, 'out of workers, the log has it once');
for my $copy (map { "copy_$_" } 1 .. 3)
{
	sql('postgres', "CREATE DATABASE $copy TEMPLATE $has");
	wait_for("SELECT ($full) IS NOT NULL");
	is(sql('postgres', $full), $has, 'a copy does not take the worker of what was copied');
}
sql('postgres', "DROP DATABASE $_") foreach map { "copy_$_" } 1 .. 3;
set('deploydb.databases', $lacks);
wait_until_ticks($lacks);
like(log_since($mark), qr/has background workers again/, 'and the end of it');
$node->append_conf('postgresql.conf', "max_worker_processes = 12\n");
set('deploydb.databases', q{''});

# A standby

$node->restart;
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('two', q{SELECT state, pid IS NULL FROM deploydb.worker_status}), 'standby|t', 'on a standby none runs');
is($standby->safe_psql('two', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'deploydb'}), '0', 'nor the launcher');
is($standby->safe_psql('two', q{SELECT verdict, detail FROM deploydb_status() WHERE area = 'monitor'}), 'ok|none runs on a standby', 'which is fine');
$standby->promote;
ok($standby->poll_query_until('two', $ticks), 'promoted, it starts');
is($standby->safe_psql('two', 'SELECT deploydb.suspended() IS NULL'), 't', 'and sends');
$standby->stop;

# Not preloaded

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
is(sql('two', 'SELECT state FROM deploydb.worker_status'), 'stopped', 'without preloading none starts by itself');
is(status('two'), 'warning|none runs: not preloaded|SELECT deploydb.start_monitor();', 'the overview says how to');
is(sql('two', 'SELECT deploydb.stop_monitor()'), 'f', 'there is none to stop');
is(sql('two', 'SELECT deploydb.start_monitor()'), 't', 'started by hand');
wait_until_ticks('two');
is(sql('two', 'SELECT deploydb.start_monitor()'), 'f', 'there are never two');
$before = sql('two', 'SELECT ticks FROM deploydb.worker_status');
is(sql('two', 'SELECT deploydb.wake_monitor()'), 't', 'it can be woken');
wait_for("SELECT ticks > $before FROM deploydb.worker_status", 'two');
$two = pid('two');
sql('postgres', "SELECT pg_terminate_backend($two, 10000)");
wait_for_another('two', $two);
pass('terminated, it comes back');

# No hook tells it to make room there
sql('postgres', "CREATE DATABASE $_") foreach qw(short forced);
set('log_min_messages', 'debug1');
sql($_, 'CREATE EXTENSION deploydb; SELECT deploydb.start_monitor()') foreach qw(short forced);
wait_until_ticks($_) foreach qw(short forced);
$mark = -s $node->logfile;
sql('postgres', 'ALTER DATABASE short RENAME TO shorter');
wait_for('SELECT pid IS NOT NULL FROM deploydb.worker_status', 'shorter');
sql('postgres', 'DROP DATABASE shorter');
sql('postgres', 'DROP DATABASE forced WITH (FORCE)');
$node->wait_for_log(qr/(unregistering background worker "deploydb monitor".*){2}/s, $mark);
pass('it makes room, comes back where the database is still there, and else not');
set('log_min_messages', 'warning');

sql('two', 'BEGIN; SELECT deploydb.stop_monitor(); ROLLBACK');
is(sql('two', 'BEGIN; SELECT deploydb.stop_monitor(); COMMIT'), 't', 'stopped by hand');
wait_until_gone('two');
is(sql('two', 'SELECT state FROM deploydb.worker_status'), 'stopped', 'it is gone');
set('deploydb.monitor', 'off');
wait_for(q{SELECT current_setting('deploydb.monitor') = 'off' FROM deploydb.is_preloaded()}, 'two');
fails_with('two', 'SELECT deploydb.start_monitor()', qr/55000.*deploydb\.monitor.*off/s, 'where it is off none is started');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11/, 'nothing crashed');
$node->stop;
done_testing();

# What the monitor outlives, and says: a listener that reads nothing, rows that
# are broken, a clock that is set back, a disk that is full.
use strict;
use warnings;

use lib 'test/lib';
use DBI;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Waiting;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");

# A clock for the server: as many seconds ahead as the file says, read anew each time.
my $library = "$directory/clock.so";
open(my $source, '>', "$directory/clock.c") or die $!;
print $source <<'C';
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long
ahead(void)
{
	static const char *text = NULL;

	if (text == NULL)
	{
		int			file = open(getenv("CLOCK_AHEAD"), O_RDONLY);

		text = mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
		close(file);
	}
	return atol(text);
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec now;

	(void) tz;
	syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + ahead();
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}
C
close $source;
my $has_clock = system("gcc -shared -fPIC -o $library $directory/clock.c 2>$directory/gcc.log") == 0;

sub set_clock
{
	my $ahead = shift;
	open(my $file, '+>>', "$directory/ahead") or die $!;
	close $file;
	open($file, '+<', "$directory/ahead") or die $!;
	syswrite $file, sprintf('%-15d', $ahead) . "\0";
	close $file;
	return;
}

my $node = PostgreSQL::Test::Cluster->new('monitor_faults');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
$node->append_conf('postgresql.conf', 'max_notify_queue_pages = 64') if $node->pg_version >= 17;
{
	set_clock(3600);
	local @ENV{qw(LD_PRELOAD CLOCK_AHEAD)} = ($library, "$directory/ahead") if $has_clock;
	$node->start;
}

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub status { return sql("SELECT $_[0] FROM deploydb.worker_status") }

# It ticks, and what is to be said arrives.
sub goes_on
{
	my $what = shift;
	my ($ticks, $id) = (status('ticks'), sql(q{SELECT deploydb.notify('still there?'); SELECT max(id) FROM deploydb.notification}));
	$id =~ s/.*\n//s;
	wait_until($node, 'postgres', "SELECT ticks > $ticks + 1 AND (SELECT state = 'delivered' FROM deploydb.notification WHERE id = $id) FROM deploydb.worker_status",
		"$what: ticks and messages go on");
	return;
}

sql('CREATE EXTENSION deploydb');
sql(q{SELECT deploydb.add_webhook('all', 'generic', '} . $receiver->url('/ok') . q{')});
wait_until($node, 'postgres', 'SELECT ticks > 1 FROM deploydb.worker_status', 'it ticks');
my $pid = status('pid');

# Listeners: one that never reads, one in a transaction, which keeps all there is
# in the queue.

my ($rounds, $events) = (3, 4000);

sub make_events
{
	my $rule = shift;
	return sql(qq{INSERT INTO deploydb.alert_event (rule, metric, severity, status, reason, message, started_at, occurred_at, silenced)
		SELECT '$rule', 'm', 'P3', 'firing', 'new', 'x', now(), now(), true FROM generate_series(1, $events); SELECT deploydb.wake_monitor()});
}
my @listeners = map { DBI->connect('dbi:Pg:dbname=postgres;host=' . $node->host . ';port=' . $node->port, '', '', { RaiseError => 1 }) } 1 .. 2;
$_->do('LISTEN deploydb_alert') foreach @listeners;
$listeners[1]->do('BEGIN');
$listeners[1]->do('SELECT 1');
foreach (1 .. $rounds)
{
	make_events("round$_");
	wait_until($node, 'postgres', 'SELECT notified_event = (SELECT max(id) FROM deploydb.alert_event) FROM deploydb.monitor_state', "round $_: all are notified");
}
is(sql(q{SELECT wait_event FROM pg_stat_activity WHERE query = 'LISTEN deploydb_alert'}), 'ClientWrite', 'one session waits for its client to read');
cmp_ok(sql('SELECT pg_notification_queue_usage()'), '>', 0, 'the queue keeps them for the other');
goes_on('with listeners that do not read');
SKIP:
{
	skip 'a queue of so few pages is there from 17 on', 4 if $node->pg_version < 17;
	make_events('too many');
	$rounds++;
	wait_until($node, 'postgres', q{SELECT last_error = 'notifying: too many notifications in the NOTIFY queue' FROM deploydb.worker_status}, 'the queue is full');
	goes_on('with a full queue');
	is(scalar(() = slurp_file($node->logfile) =~ /ERROR:  too many notifications/g), 1, 'which the log has once');
}
$listeners[1]->do('COMMIT');
my $heard = 0;

sub hear
{
	foreach my $listener (@listeners)
	{
		$listener->do('SELECT 1');
		while ($listener->pg_notifies) { $heard++ }
	}
	return;
}
hear();
wait_until($node, 'postgres', 'SELECT notified_event = (SELECT max(id) FROM deploydb.alert_event) FROM deploydb.monitor_state', 'once they read, none is left out');
hear();
is($heard, 2 * $rounds * $events, 'they have all of them');
$_->disconnect foreach @listeners;

is(sql(q{SELECT DISTINCT wait_event FROM pg_stat_activity WHERE backend_type = 'deploydb launcher'}),
	$node->pg_version < 17 ? 'Extension' : 'DeploydbLauncher', 'the launcher waits under a name of its own, from 17 on');
wait_until($node, 'postgres', sprintf(q{SELECT wait_event = '%s' FROM pg_stat_activity WHERE backend_type = 'deploydb monitor'},
	$node->pg_version < 17 ? 'Extension' : 'DeploydbMonitor'), 'and the monitor');

# An operator who does not commit: what waits for that is left out, and all else
# goes on.

my $operator = $node->background_psql('postgres');
foreach my $held (['evaluate_alerts()', 'evaluate_rules'], [q{reset_write_stats('decision_insights')}, 'take_write_sample'])
{
	my ($call, $part) = @$held;
	$operator->query("BEGIN; SELECT deploydb.$call");
	my $ticks = status('ticks');
	wait_until($node, 'postgres', "SELECT ticks > $ticks AND last_error = 'deploydb.$part: canceling statement due to lock timeout' FROM deploydb.worker_status", "$call held: it is said");
	goes_on("$call held");
	wait_until($node, 'postgres', "SELECT EXISTS (SELECT FROM deploydb.health_problem() WHERE reason ~ '^the monitor failed at .*: deploydb\\.$part: canceling statement due to lock timeout\$')",
		"$call held: health() tells");
	$operator->query('ROLLBACK');
}
$operator->quit;

# Ticks that take longer than their interval

sql(q{CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END';
	CREATE TRIGGER dawdle AFTER UPDATE ON deploydb.metric_latest FOR EACH ROW WHEN (NEW.metric = 'worker.tick_seconds') EXECUTE FUNCTION dawdle()});
goes_on('with slow ticks');
wait_until($node, 'postgres', q{SELECT EXISTS (SELECT FROM deploydb.health_problem() WHERE reason ~ '^the last tick took 1\.\d s, longer than the interval of 1\.0 s$')}, 'health() tells');
wait_until($node, 'postgres', q{SELECT concat_ws('|', verdict, detail) = 'warning|the last tick took over 1s' FROM deploydb_status() WHERE area = 'monitor'},
	'and the status');
sql('DROP TRIGGER dawdle ON deploydb.metric_latest');

# A rule and an address that no function of ours would have taken

sql(q{SELECT deploydb.set_rule('broken', 'api.up', 'threshold', 'P0', '<', 1), deploydb.add_webhook('broken', 'generic', 'https://example.org/', min_severity => 'P0');
	UPDATE deploydb.webhook_secret SET url = 'http://[nowhere' WHERE webhook = 'broken';
	SELECT deploydb.notify('broken', 'P0', 'broken')});
my @checks = split /\n/, sql(q{SELECT conname FROM pg_constraint WHERE conrelid = 'deploydb.own_rule'::regclass AND contype = 'c'});
sql(join ';', map { "ALTER TABLE deploydb.own_rule DROP CONSTRAINT $_" } @checks);
sql(q{UPDATE deploydb.own_rule SET comparison = NULL WHERE id = 'broken'});
wait_until($node, 'postgres', q{SELECT fault IS NOT NULL FROM deploydb.alert_rule WHERE id = 'broken'}, 'a broken rule is disabled, with the reason');
wait_until($node, 'postgres', q{SELECT last_error IS NOT NULL AND attempts > 0 FROM deploydb.notification WHERE webhook = 'broken'}, 'of a broken address the reason is known');
goes_on('with what is broken');
is(sql(q{SELECT count(*) FROM deploydb.alert_rule WHERE fault IS NOT NULL}), '1', 'no other rule is');
note(sql(q{SELECT fault FROM deploydb.alert_rule WHERE id = 'broken'}), '; ', sql(q{SELECT state, last_stage, last_error FROM deploydb.notification WHERE webhook = 'broken'}));
sql(q{SELECT deploydb.drop_webhook('broken')});

# The clock is set back by an hour, and on again.

SKIP:
{
	skip 'no C compiler makes a clock', 1 unless $has_clock;
	my $offset = time - sql('SELECT extract(epoch FROM clock_timestamp())::bigint');
	cmp_ok(abs($offset + 3600), '<', 60, 'the server is an hour ahead');
	my $alert = sub {
		my ($metric, $value, $status) = @_;
		my $id = sql('SELECT COALESCE(max(id), 0) FROM deploydb.alert_event');
		sql("SELECT deploydb.push_metric('$metric', $value), deploydb.wake_monitor()");
		return wait_until($node, 'postgres', qq{SELECT count(*) > 0 FROM deploydb.alert_event e JOIN deploydb.notification n ON n.event = e.id
			WHERE e.id > $id AND e.rule = '$metric' AND e.status = '$status' AND n.state = 'delivered'}, "$metric is $status, which is told");
	};
	sql(qq{SELECT deploydb.add_metric('$_', NULL), deploydb.set_rule('$_', '$_', 'threshold', 'P1', '>', 5, consecutive_periods => 1, cooldown_seconds => 0)})
		foreach qw(before after both);
	sql(q{SELECT deploydb.add_metric('asked', 'SELECT count(*) FROM pg_class')});
	$alert->('before', 10, 'firing');
	$alert->('both', 10, 'firing');
	$alert->('both', 1, 'resolved');
	sql(q{SELECT deploydb.push_metric('after', 1)});
	my $flaky = $receiver->url('/flaky/2');
	sql(qq{SELECT deploydb.add_webhook('flaky', 'generic', '$flaky', min_severity => 'P0'); SELECT deploydb.notify('flaky', 'P3', 'flaky')});
	wait_until($node, 'postgres', q{SELECT attempts >= 2 FROM deploydb.notification WHERE webhook = 'flaky'}, 'a message is tried again');
	sql(q{UPDATE deploydb.monitor_state SET last_error = 'of before', last_error_at = clock_timestamp()});
	my $events = sql('SELECT count(*) FROM deploydb.alert_event');
	my $missed = status('missed_ticks');

	set_clock(0);
	goes_on('set back by an hour');
	wait_until($node, 'postgres', q{SELECT state = 'delivered' FROM deploydb.notification WHERE webhook = 'flaky'}, 'what waited for a later try does not wait an hour');
	wait_until($node, 'postgres', q{SELECT at < clock_timestamp() AND value > 0 FROM deploydb.metric_value WHERE metric = 'asked'}, 'what people ask is asked again');
	is(sql('SELECT count(*) FROM deploydb.alert_event'), $events, 'nothing fires by itself');
	is(sql(q{SELECT verdict FROM deploydb_status() WHERE area = 'monitor'}), 'ok', 'an error of an hour to come is an old one');
	$alert->('before', 1, 'resolved');
	$alert->('after', 10, 'firing');
	$alert->('both', 10, 'firing');
	is(status('missed_ticks'), $missed, 'no tick was missed');

	$events = sql('SELECT count(*) FROM deploydb.alert_event');
	set_clock(3600);
	goes_on('set on again');
	is(sql(q{SELECT count(*) FROM deploydb.alert_event WHERE reason IN ('new', 'resolved')}) - $events, sql(q{
		SELECT -count(*) FROM deploydb.alert_event WHERE reason NOT IN ('new', 'resolved')}), 'nothing fires or is resolved by itself');
}

# The monitor's disk is full: no file of its can grow past a megabyte, which
# those of the WAL do not, and those of the tables that it writes are as large.

SKIP:
{
	skip 'there is no prlimit', 1 unless IPC::Run::run([ 'prlimit', '--pid', $$ ], '>', \my $limits);
	my $limit = sub { return system_or_bail('prlimit', '--pid', $pid, "--fsize=$_[0]:") };
	my $errors = sub { return sql(q{SELECT last_error FROM deploydb.worker_status WHERE last_error_at >= last_tick_at}) };
	append_to_file("$directory/received.shut", '');
	my $shut = $receiver->url('/shut');

	# Old versions of rows, which would give room, are kept by a snapshot, and
	# the last page is filled with rows of one width to the end.
	my %row = (
		outbox => q{(webhook, kind, topic, severity, status, body, state, finished_at)
			SELECT 'none', 'notice', 't', 'P3', 'notice', repeat('x', 200), 'delivered', clock_timestamp()},
		metric_sample => q{SELECT clock_timestamp(), 1, 'none', ''});
	my $fill = sub {
		my ($table, $rows, $before) = @_;
		$before //= '';
		return sql(qq{BEGIN; $before; INSERT INTO deploydb.$table $row{$table} FROM generate_series(1, $rows);
			DO \$\$
			DECLARE
				whole bigint := (SELECT count(*) FROM deploydb.$table WHERE ctid >= '(100,0)' AND ctid < '(101,0)');
				place tid;
			BEGIN
				LOOP
					INSERT INTO deploydb.$table $row{$table} RETURNING ctid INTO place;
					EXIT WHEN (place::text::point)[1] >= whole;
				END LOOP;
			END \$\$;
			COMMIT});
	};
	sql("ALTER TABLE deploydb.$_ SET (autovacuum_enabled = off)") foreach qw(outbox metric_sample);
	my $snapshot = $node->background_psql('postgres');
	$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	$fill->('outbox', 100);
	sql(qq{SELECT deploydb.add_webhook('shut', 'generic', '$shut', min_severity => 'P0');
		SELECT deploydb.notify('before', 'P3', 'shut')});
	wait_until($node, 'postgres', q{SELECT state = 'sending' FROM deploydb.notification WHERE webhook = 'shut'}, 'a message is under way');
	$limit->(2**20);
	$fill->('outbox', 5000);
	$fill->('metric_sample', 25000);
	cmp_ok(sql(qq{SELECT min(pg_relation_size(c)) FROM unnest('{deploydb.outbox,deploydb.metric_sample}'::regclass[]) c}), '>', 2**20,
		'two tables are large');
	my $ticks = status('ticks');
	wait_until($node, 'postgres', q{SELECT last_error ~ 'collect_metrics: could not extend file' FROM deploydb.worker_status}, 'what cannot be kept is said');
	$fill->('outbox', 50, q{SELECT deploydb.notify('meanwhile')});
	unlink "$directory/received.shut";
	wait_until($node, 'postgres', "SELECT ticks > $ticks + 2 FROM deploydb.worker_status", 'ticks go on');
	my ($hung) = grep { $_->{path} eq '/shut' } $receiver->requests;
	is(sql(q{SELECT string_agg(state, ' ' ORDER BY id) FROM deploydb.notification WHERE state IN ('pending', 'sending')}), 'sending pending',
		'what became of the message cannot be recorded, nor another one claimed');
	$limit->('unlimited');
	wait_until($node, 'postgres', q{SELECT bool_and(state = 'delivered' AND attempts = 1) FROM deploydb.notification WHERE webhook = 'shut'},
		'until there is room');
	is((grep { $_->{id} eq $hung->{id} } $receiver->requests), 1, 'it was sent but once');
	wait_until($node, 'postgres', q{SELECT count(*) = 0 FROM deploydb.notification WHERE state IN ('pending', 'sending')}, 'the others go, too');
	wait_until($node, 'postgres', 'SELECT last_error_at < last_tick_at FROM deploydb.worker_status', 'and ticks have no error');
	$snapshot->quit;
	my @said = slurp_file($node->logfile) =~ /ERROR:  (could not extend file)/g;
	cmp_ok(scalar @said, '<', 30, 'the log is not flooded');
	note(scalar(@said), ' lines of the log');
}

is(status('pid'), $pid, 'the monitor is the same');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();

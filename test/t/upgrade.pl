# A real pg_upgrade, with the monitor: what is registered comes along, what
# was derived is derived again, what was captured is stale; rules, webhooks and
# what waits are there, and nothing is sent before adopt(); then Alertmanager is
# told of what goes on, and of what has ended.  From an older major where one is
# installed beside this one with its headers, otherwise from this one to itself.
use strict;
use warnings;

use lib 'test/lib';
use File::Glob qw(bsd_glob);
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;

my ($here) = (run_command([ 'pg_config', '--version' ]))[0] =~ /PostgreSQL (\d+)/;
my ($old_major) = sort { $b <=> $a } grep { $_ < $here && -e "/usr/lib/postgresql/$_/bin/initdb" }
  map { m{/(\d+)/bin/pg_config$} } glob '/usr/lib/postgresql/*/bin/pg_config';
my $directory = PostgreSQL::Test::Utils::tempdir;

# deploydb for the older major, in a copy of that server
sub build_for
{
	my $major = shift;
	my ($prefix, $log) = run_command([ 'bash', '-c', q{
		. scripts/lib/common.sh
		prefix=$(make_prefix "$1" "$2/pg")
		copy_source "$2/build"
		build_and_install "$2/build" "$prefix" "$2/build.log" >&2
		echo "$prefix"}, 'build', "/usr/lib/postgresql/$major/bin/pg_config", $directory ]);
	ok($prefix && -e $prefix, "deploydb is built for PostgreSQL $major") or BAIL_OUT($log);
	return $prefix =~ s{/bin/pg_config$}{}r;
}

my @install_path = $old_major ? (install_path => build_for($old_major)) : ();
$old_major //= $here;
my $older = $old_major < $here;
my @checksums = $here >= 18 ? (extra => ['--no-data-checksums']) : ();
my $receiver = Receiver->new("$directory/received");
my $configuration = q{
shared_preload_libraries = 'deploydb'
deploydb.databases = 'postgres'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_allow = '127.0.0.1'
};
my $old = PostgreSQL::Test::Cluster->new('old', @install_path);
$old->init($old_major >= 18 ? @checksums : ());
$old->append_conf('postgresql.conf', $configuration);
$old->start;

$old->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
	CREATE TABLE added (id int PRIMARY KEY);
	CREATE TABLE captured (id int PRIMARY KEY);
	SELECT deploydb.register_migration('20260101_added', 'CREATE TABLE added (id int PRIMARY KEY)');
	SELECT deploydb.import_migration(deploydb.capture_migration('20260102_captured', '{captured}'));
	SELECT deploydb_verify_migration();
});

# The monitor has ticked, a rule fires, and a message waits for a receiver
# that is not there yet.
my ($hook, $nowhere) = map { $receiver->url($_) } qw(/ok/hook /status/503);
$old->safe_psql('postgres', qq{
	SELECT deploydb.add_webhook('hook', 'generic', '$nowhere', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
	SELECT deploydb.set_rule('mine', metric => 'http.error_rate.5xx', comparison => '>', threshold => 0.125);
	UPDATE deploydb.alert_rule SET threshold = 50 WHERE id = 'webhook_backlog';
	SELECT deploydb.notify('it waits', 'P0', 'hook');
	INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
	VALUES ('1', '1', 'u', '{}', '{}', 'h', now());
});
ok($old->poll_query_until('postgres', q{SELECT count(*) = 1 FROM deploydb.notification WHERE attempts > 0 AND state = 'pending'}),
	'a message waits');
ok($old->poll_query_until('postgres', q{SELECT succeeded = 1 FROM deploydb.write_stats('1 hour')}), 'a write was counted');

# Alertmanager knows alerts by their labels, until it is told of their end.
sub told
{
	my ($rule) = @_;
	return grep { $_->{labels}{alertname} eq $rule } map { @{ JSON::PP->new->utf8->decode($_->{body}) } }
	  grep { $_->{path} eq '/ok/alertmanager' } $receiver->requests;
}

sub known
{
	my ($rule) = @_;
	my $now = POSIX::strftime('%Y-%m-%dT%H:%M:%S.999Z', gmtime);
	my %ends = map { JSON::PP->new->canonical->encode($_->{labels}) => $_->{endsAt} } told($rule);
	return [ sort grep { $ends{$_} gt $now } keys %ends ];
}

$old->safe_psql('postgres', sprintf q{
	SELECT deploydb.add_webhook('am', 'alertmanager', '%s');
	CREATE TABLE queue AS SELECT 20 AS length;
	SELECT deploydb.add_metric('queue', 'SELECT length FROM queue', 'jobs', 'Jobs that wait');
	SELECT deploydb.set_rule(rule, 'queue', severity => 'P1', comparison => '>', threshold => 10, consecutive_periods => 1,
		labels => '{"team": "data"}') FROM unnest('{long_queue,given_up}'::text[]) rule;
}, $receiver->url('/ok/alertmanager'));
ok($old->poll_query_until('postgres', q{SELECT count(*) = 2 FROM deploydb.outbox WHERE webhook = 'am' AND topic IN ('long_queue/', 'given_up/') AND state = 'delivered'}),
	'two alerts are told to Alertmanager');
my %known = map { $_ => known($_) } qw(long_queue given_up);
is_deeply([ map { scalar @{ $known{$_} } } sort keys %known ], [ 1, 1 ], 'which knows both');

my $dump = "$directory/old.sql";
command_ok([ 'pg_dump', '-d', $old->connstr('postgres'), '-f', $dump ], 'the older server is dumped');
my $fingerprint = $old->safe_psql('postgres', q{SELECT deploydb.migration_fingerprint('insights')});

# What people made and what was measured, but for what ticks change
my $kept = q{
	SELECT 'webhook', w.name, w.format FROM deploydb.webhook w UNION ALL
	SELECT 'secret', s.url, s.secret FROM deploydb.webhook_secret s UNION ALL
	SELECT 'rule', r.id, r.threshold::text FROM deploydb.alert_rule r WHERE r.id IN ('mine', 'webhook_backlog') UNION ALL
	SELECT 'message', o.id::text, o.body FROM deploydb.outbox o WHERE o.body LIKE '%it waits%' UNION ALL
	SELECT 'installation', i.system_identifier::text, i.database_oid::text FROM deploydb.installation i UNION ALL
	SELECT 'written', w.succeeded::text, NULL FROM deploydb.write_stats('1 hour') w
	ORDER BY 1, 2};
my $before = $old->safe_psql('postgres', $kept);
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(@checksums);
$new->append_conf('postgresql.conf', $configuration . "log_min_messages = debug1\n");
my @upgrade = ('pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'),
	'-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port);
chdir $directory or die;
command_ok([ @upgrade, '--check' ], "pg_upgrade --check from $old_major to $here");
command_ok([ @upgrade, '--retain' ], "pg_upgrade from $old_major to $here");

my $sent = () = $receiver->requests;
my $starts = qr/starting background worker process "deploydb/;
my @logs = bsd_glob $new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log';
ok(@logs > 0 && !grep({ slurp_file($_) =~ $starts } @logs), 'no monitor runs meanwhile');
$new->start;

sub poll
{
	my ($query, $what) = @_;
	ok($new->poll_query_until('postgres', $query), $what) or diag($new->safe_psql('postgres', 'TABLE deploydb.notification; TABLE deploydb.worker_status'));
	return;
}
my $ticks = $new->safe_psql('postgres', 'SELECT ticks FROM deploydb.monitor_state');
poll("SELECT state = 'suspended' AND ticks > $ticks + 2 FROM deploydb.worker_status", 'it ticks, suspended');
like(slurp_file($new->logfile), $starts, 'which the log would show');
is($new->safe_psql('postgres', $kept), $before, 'what was made and measured came along');
is($new->safe_psql('postgres', q{SELECT last_error IS NULL FROM deploydb.worker_status}), 't', 'no tick failed');
is($new->safe_psql('postgres', q{SELECT string_agg(DISTINCT kind, ' ') FROM deploydb.write_gap}), 'lost', 'a gap is recorded');

# What was verified
my $newer = $older ? 'on another major: not known' : 'on this major: known';
is($new->safe_psql('postgres', q{
		SET client_min_messages = error;
		SELECT deploydb_verify_migration('insights'), deploydb_verify_migration('added'),
			deploydb_verify_migration('captured') IS NULL}), $older ? 't|t|t' : 't|t|f',
	"derived again; captured $newer");
is($new->safe_psql('postgres', q{SELECT DISTINCT status FROM deploydb.migration_report('captured')}), $older ? 'stale' : 'ok',
	'and said so');
my ($now, $then) = map { $older ? s/:[0-9a-f]+$//r : $_ } $new->safe_psql('postgres', q{SELECT deploydb.migration_fingerprint('insights')}),
  $fingerprint;
ok(($now eq $then) == !$older, 'fingerprints name their major') or diag("$then, then $now");
is($new->safe_psql('postgres', q{
		SELECT deploydb.import_migration(deploydb.capture_migration('20260102_captured', '{captured}')) > 0;
		SELECT deploydb_verify_migration()}), "t\nt", 'captured again, everything verifies');
is($new->safe_psql('postgres', 'SELECT count(*) > 2 FROM deploydb.verification_history'), 't', 'history came along');

# The receiver is there, one rule is given up, what was told to Alertmanager is
# to be told again, and nothing is sent before adopt().
$new->safe_psql('postgres', qq{
	SELECT deploydb.set_webhook_url('hook', '$hook'), deploydb.reset_rule('given_up');
	UPDATE deploydb.outbox SET ends_at = ends_at - interval '31 minutes' WHERE ends_at IS NOT NULL;
});
poll(q{SELECT count(*) = 1 FROM deploydb.alert_event WHERE rule = 'given_up' AND status = 'resolved'}, 'a rule is given up');
$ticks = $new->safe_psql('postgres', 'SELECT ticks FROM deploydb.monitor_state');
poll("SELECT ticks > $ticks + 2 FROM deploydb.monitor_state", 'it ticks on');
is(scalar(() = $receiver->requests), $sent, 'and sends nothing');
is($new->safe_psql('postgres', q{SELECT deploydb.adopt(); SELECT deploydb.notify('it is new', 'P0', 'hook') > 0}), "t\nt", 'adopted');
poll(q{SELECT count(*) = 1 FROM deploydb.outbox WHERE body LIKE '%it is new%' AND state = 'delivered'}, 'it sends');

# What goes on is told again, and ends, as what has ended meanwhile does, whatever
# labels it has here: that of the cluster's name, and of the rule.
my $delivered = q{SELECT count(*) = 1 FROM deploydb.outbox WHERE webhook = 'am' AND event %s AND topic = '%s/' AND status = '%s' AND state = 'delivered'};
poll(sprintf($delivered, 'IS NULL', 'long_queue', 'firing'), 'Alertmanager is told again');
my ($first, $again, @more) = told('long_queue');
is_deeply([ $again->{labels}, scalar @more ], [ $first->{labels}, 0 ], 'once, with the same labels');
cmp_ok($again->{endsAt}, 'gt', $first->{endsAt}, 'so that it keeps the alert');
poll(sprintf($delivered, 'IS NOT NULL', 'given_up', 'resolved'), 'and is told an end');
is_deeply([ known('long_queue'), known('given_up') ], [ $known{long_queue}, [] ], 'it has what goes on, and no more');
$new->safe_psql('postgres', 'UPDATE queue SET length = 0');
poll(sprintf($delivered, 'IS NOT NULL', 'long_queue', 'resolved'), 'that is resolved');
isnt((told('long_queue'))[-1]{labels}{cluster_name}, $first->{labels}{cluster_name}, 'in a cluster of another name');
is_deeply(known('long_queue'), [], 'and Alertmanager has it no more');
is($new->safe_psql('postgres', q{SELECT state FROM deploydb.outbox WHERE body LIKE '%it waits%'}), 'dead', 'not what waited');
$new->safe_psql('postgres', q{SELECT deploydb.replay_since(now() - interval '1 hour')});
poll(q{SELECT count(*) = 1 FROM deploydb.outbox WHERE body LIKE '%it waits%' AND state = 'delivered'}, 'which can be sent, too');
$new->safe_psql('postgres', q{INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
	VALUES ('2', '2', 'u', '{}', '{}', 'h', now())});
poll(q{SELECT succeeded = 2 FROM deploydb.write_stats('1 hour')}, 'writes are counted on');
$new->safe_psql('postgres', q{SELECT deploydb.push_metric('http.error_rate.5xx', 0.25)});
poll(q{SELECT count(*) = 1 FROM deploydb.active_alert WHERE rule = 'mine'}, 'a rule of people\'s fires');

# A dump of the older one, restored here
$new->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$new->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ],
	"a dump of $old_major is restored on $here");
is($new->safe_psql('restored', q{
		SET client_min_messages = error;
		SELECT deploydb_verify_migration('insights'), deploydb_verify_migration('added'),
			deploydb_verify_migration('captured') IS NULL}), $older ? 't|t|t' : 't|t|f', 'and says the same');

$new->stop;
$receiver->stop;
done_testing();

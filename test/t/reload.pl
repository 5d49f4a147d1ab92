# Settings that are changed by a reload, as what they do: the others are in
# monitor.pl (databases, monitor, the interval) and webhooks.pl (allow, the
# proxy, the CA file).
use strict;
use warnings;

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Waiting;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");

my $node = PostgreSQL::Test::Cluster->new('reload');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.metric_timeout = '30s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Set, and known to the monitor.
sub set
{
	my %settings = @_;
	sql("ALTER SYSTEM SET deploydb.$_ = '$settings{$_}'") foreach keys %settings;
	$node->reload;
	my $ticks = sql('SELECT ticks FROM deploydb.worker_status');
	$node->poll_query_until('postgres', "SELECT ticks > $ticks + 1 FROM deploydb.worker_status");
	return;
}

sub add_webhook
{
	my ($name, $path) = @_;
	return sql("SELECT deploydb.add_webhook('$name', 'generic', '" . $receiver->url($path) . q{', min_severity => 'P0')});
}

sub notify
{
	my ($name, $count) = @_;
	return sql("SELECT count(deploydb.notify('message ' || n, 'P3', '$name')) FROM generate_series(1, $count) n");
}

sql('CREATE EXTENSION deploydb');
$node->poll_query_until('postgres', 'SELECT ticks > 0 FROM deploydb.worker_status');
my $pid = sql('SELECT pid FROM deploydb.worker_status');

add_webhook($_, "/ok/$_") foreach qw(all many);
sql(q{UPDATE deploydb.webhook SET min_severity = 'P3' WHERE name = 'all'});
sql(q{SELECT deploydb.add_metric('n', NULL), deploydb.set_rule('r', 'n', 'threshold', 'P0', '>', 5, consecutive_periods => 1, cooldown_seconds => 0)});
sql(q{SELECT deploydb.add_metric('slow', 'SELECT 1 FROM pg_sleep(0.1)')});
wait_until($node, 'postgres', q{SELECT count(value) = 1 FROM deploydb.metric_value WHERE metric = 'slow'}, 'a query takes its time');
sql(q{INSERT INTO deploydb.metric_sample SELECT now() - interval '3 hours', 0, 'n', '' FROM generate_series(1, 10)});
my $old = q{SELECT count(*) FROM deploydb.metric_sample WHERE at < now() - interval '2 hours'};
isnt(sql($old), '0', 'there are samples of some hours ago');

set(webhook_timeout => '300ms', webhook_max_attempts => 2);
add_webhook('hangs', '/hang');
notify('hangs', 1);
wait_until($node, 'postgres', q{SELECT state = 'dead' AND attempts = 2 AND last_ms BETWEEN 250 AND 30000 FROM deploydb.notification WHERE webhook = 'hangs'},
	'webhook_timeout and webhook_max_attempts: how long and how often it is tried');
sql(q{SELECT deploydb.drop_webhook('hangs')});

set(webhook_timeout => '60s', webhook_max_per_minute => 2, environment => 'staging', metric_timeout => '20ms');
wait_until($node, 'postgres', q{SELECT fault LIKE '%took longer than 20 ms' FROM deploydb.metric WHERE name = 'slow'}, 'metric_timeout: a query takes too long now');
notify('many', 6);
wait_until($node, 'postgres', q{SELECT count(*) FILTER (WHERE state = 'folded') = 5 AND count(*) FILTER (WHERE state = 'delivered' AND kind = 'digest') = 1
	FROM deploydb.notification WHERE webhook = 'many'}, 'webhook_max_per_minute: what exceeds it is folded');
notify('many', 1);
sql('SELECT deploydb.push_metric($$n$$, 10), deploydb.wake_monitor()');
wait_until($node, 'postgres', q{SELECT count(*) > 0 FROM deploydb.notification WHERE event IS NOT NULL AND state = 'delivered' AND webhook = 'all'}, 'an alert');
like((grep { $_->{body} =~ /"ruleId": ?"r"/ } $receiver->requests)[-1]{body}, qr/"environment": ?"staging"/, 'environment: the monitor says where');

set(webhook_max_per_minute => 0, language => 'zh', retention => '2h');
wait_until($node, 'postgres', q{SELECT bool_and(state IN ('delivered', 'folded')) FROM deploydb.notification WHERE webhook = 'many'},
	'webhook_max_per_minute: without a limit nothing waits for its turn');
sql('SELECT deploydb.push_metric($$n$$, 1), deploydb.wake_monitor()');
wait_until($node, 'postgres', q{SELECT count(*) > 0 FROM deploydb.notification WHERE status = 'resolved' AND state = 'delivered' AND webhook = 'all'}, 'its end');
like((grep { $_->{body} =~ /"ruleId": ?"r"/ } $receiver->requests)[-1]{body}, qr/\xe5\xb7\xb2\xe6\x81\xa2\xe5\xa4\x8d/, 'language: in Chinese from then on');
wait_until($node, 'postgres', "SELECT ($old) = 0", 'retention: old samples are forgotten');

is(sql('SELECT pid FROM deploydb.worker_status'), $pid, 'by the same monitor');

# In a session that has been there all the time
my $session = $node->background_psql('postgres', on_error_stop => 0);
sub asks { return $session->query_safe($_[0]) }
asks(q{SET client_min_messages = error; CREATE TABLE decision_insights (id text);
	CREATE TABLE w (id int CHECK (id > 0)); SELECT deploydb.track('w');
	SELECT deploydb.backup_finish(deploydb.backup_start('nightly'), 1);
	UPDATE deploydb.backup SET started_at = started_at - interval '3 hours', finished_at = finished_at - interval '3 hours'});
asks(q{DO $$ BEGIN
	FOR n IN -7 .. 40 LOOP
		BEGIN
			INSERT INTO w VALUES (n);
		EXCEPTION WHEN check_violation THEN
		END;
	END LOOP;
END $$});
asks(q{SELECT deploydb.register_migration('kept', 'CREATE TABLE kept (id int)', NULL, 'DROP TABLE kept');
	CREATE TABLE kept (id int);
	SELECT deploydb.rollback_migration((deploydb.plan_rollback('kept') ->> 'id')::bigint, 'a test')});
my $discard = q{SELECT deploydb.discard_rolled_back(max(id), 'a test') FROM deploydb.rollback};
$session->query($discard);
like($session->{stderr}, qr/kept until.*deploydb\.rollback_retention/s, 'what was rolled back is kept');
$session->{stderr} = '';
my $target = q{SELECT verdict, others_attempts FROM deploydb.write_stats(target => 'w')};
is(asks($target), 'breached|0', 'of 48 writes 8 failed');
my $slow = asks('SELECT deploydb.slow_queries()');
is(asks('SELECT deploydb.slow_queries()'), $slow, 'and none was slow');
isnt(asks('SELECT deploydb.fit_backup()'), '', 'there is a backup');
set(write_success_target => '0.5', slow_query_threshold => 0, app_role => 'nobody', backup_max_age => '2h', capture_statements => 'on',
	rollback_retention => 0);
asks('INSERT INTO w VALUES (1)');
is(asks($target), 'ok|1', 'write_success_target, and app_role');
cmp_ok(asks('SELECT deploydb.slow_queries()'), '>', $slow, 'slow_query_threshold');
is(asks('SELECT deploydb.fit_backup()'), '', 'backup_max_age');
is(asks($discard), 't', 'rollback_retention');
asks('/* OPS-18 */ ALTER TABLE decision_insights ADD COLUMN note text');
like(asks('SELECT statement FROM deploydb.definition_change ORDER BY id DESC LIMIT 1'), qr/OPS-18/, 'capture_statements');
$session->quit;
$node->stop;
done_testing();

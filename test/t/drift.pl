# Drift: what changes a migrated table's definition is told long before a tick is
# due, and what does not deviate is told to nobody.
#
# DEPLOYDB_DROPS is how often an index is dropped and built again; soak does it a
# hundred times, and then each must be told within a second.  Else most of them
# must, of up to four times as many where the machine is busy.  No tick is due.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Story;
use Test::More;

my $drops = $ENV{DEPLOYDB_DROPS} || 5;
my $most_drops = $ENV{DEPLOYDB_DROPS} || 20;
my $share = $ENV{DEPLOYDB_DROPS} ? 1 : 0.6;
my $node = PostgreSQL::Test::Cluster->new('drift');
$node->init;
$node->append_conf('postgresql.conf', $Story::settings
	. "deploydb.webhook_max_per_minute = 0\ndeploydb.metrics_collection_interval = '1h'\n");
$node->start;
my $receiver = Story::Receiver->new;
my $migration = '20251203071615_add_decision_insights';

sub sql { return $node->safe_psql('postgres', shift) }

sql(q{
	CREATE TABLE decision_insights (
		id text NOT NULL, decision_id text NOT NULL, user_id text NOT NULL, state_snapshot jsonb NOT NULL,
		difficulty_factors jsonb NOT NULL, triggers text[] DEFAULT ARRAY[]::text[], feature_vector_hash text NOT NULL,
		created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at timestamp(3) NOT NULL,
		CONSTRAINT decision_insights_pkey PRIMARY KEY (id));
	CREATE UNIQUE INDEX decision_insights_decision_id_key ON decision_insights (decision_id);
	CREATE INDEX decision_insights_user_id_decision_id_idx ON decision_insights (user_id, decision_id);
	CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash);
	CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at);
	CREATE EXTENSION deploydb;
	SET client_min_messages = error;
	SELECT deploydb_verify_migration()});
sql("SELECT deploydb.add_webhook('team', 'slack', '" . $receiver->url . "')");
my $comments = sql(q{SELECT count(*) FROM deploydb.migration_report() WHERE severity = 'error'});
is($comments, '0', 'the table is as the migration made it, but for comments');

# Runs a statement; milliseconds until a message of that status, made after it,
# was delivered; NULL after a long time.
sql(q{
	CREATE PROCEDURE told_after(statement text, wanted text, INOUT ms double precision) LANGUAGE plpgsql AS $$
	DECLARE
		begun timestamptz := clock_timestamp();
		last bigint := (SELECT COALESCE(max(id), 0) FROM deploydb.notification);
	BEGIN
		EXECUTE statement;
		COMMIT;
		FOR look IN 1 .. 6000 LOOP
			COMMIT;
			SELECT extract(epoch FROM n.finished_at - begun) * 1000 INTO ms FROM deploydb.notification n
			WHERE n.id > last AND n.topic LIKE 'migration_drift/%' AND n.status = wanted AND n.state = 'delivered';
			EXIT WHEN FOUND;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$});

sub told_after
{
	my ($statement, $status) = @_;
	return sql("CALL told_after(\$s\$$statement\$s\$, '$status', NULL)");
}

my (@ms, $in_time);
my $told = 0;
do
{
	my $dropped = told_after('DROP INDEX decision_insights_created_at_idx', 'firing');
	my $built = told_after('CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at)', 'resolved');
	$told++ if $dropped ne '' && $built ne '';
	push @ms, $dropped || 'inf';
	$in_time = grep { $_ < 1000 } @ms;
} until ($told < @ms || (@ms >= $drops && $in_time >= $share * @ms) || @ms >= $most_drops);
is($told, scalar @ms, 'each drop of an index is told, and each end of it');
note('after ', join(', ', sort { $b <=> $a } @ms), ' ms');
cmp_ok($in_time, '>=', $share * @ms, 'within a second');

# Another deviation while it fires is told, too
isnt(told_after('DROP INDEX decision_insights_created_at_idx', 'firing'), '', 'an index');
isnt(told_after('DROP INDEX decision_insights_feature_vector_hash_idx', 'firing'), '', 'a second one while the alert fires');
is(sql('SELECT reason FROM deploydb.alert_event ORDER BY id DESC LIMIT 1'), 'changed', 'as a change');
isnt(told_after('CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at)', 'firing'), '', 'one of them is back');
isnt(told_after('CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash)', 'resolved'), '',
	'both are');

# A change of an enum
sql(q{SET client_min_messages = error;
	CREATE TYPE "IngestionStatus" AS ENUM ('PENDING', 'SUCCESS');
	SELECT deploydb.register_migration('20260101000000_status', $$CREATE TYPE "IngestionStatus" AS ENUM ('PENDING', 'SUCCESS')$$);
	SELECT deploydb_verify_migration('status')});
isnt(told_after(q{ALTER TYPE "IngestionStatus" RENAME VALUE 'PENDING' TO 'WAITING'}, 'firing'), '', 'a renamed value of an enum');
isnt(told_after(q{ALTER TYPE "IngestionStatus" RENAME VALUE 'WAITING' TO 'PENDING'}, 'resolved'), '', 'and that it is back');

# What deviates from nothing pages nobody, at no tick
$node->append_conf('postgresql.conf', "deploydb.metrics_collection_interval = '1s'\n");
$node->reload;
my $event = sql('SELECT max(id) FROM deploydb.alert_event');
# a slow machine has slow statements
my $events = qq{SELECT string_agg(concat_ws(' ', rule, series, status, message), '; ') FROM deploydb.alert_event
	WHERE id > $event AND rule <> 'db_slow_queries_rate_p0'};
my $ticks = sql('SELECT ticks FROM deploydb.monitor_state');
sql('CREATE INDEX CONCURRENTLY more ON decision_insights (triggers)');
sql('REINDEX INDEX CONCURRENTLY decision_insights_created_at_idx');
sql('CREATE TABLE other (id int); ALTER TABLE other ADD COLUMN n int; DROP TABLE other');
sql('BEGIN; DROP INDEX decision_insights_created_at_idx; ROLLBACK');
sql('DROP INDEX more');
$node->poll_query_until('postgres', "SELECT ticks >= $ticks + 2 FROM deploydb.monitor_state");
is(sql($events), '', 'an online index build, and what is rolled back, page nobody');

# Somebody's old snapshot holds an online build up for some ticks.
sub hold_up
{
	my ($statement, $meanwhile) = @_;
	my $reader = $node->background_psql('postgres');
	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM decision_insights');
	my $builder = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', $statement ], '>&', \my $out);
	ok($node->poll_query_until('postgres', qq{SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query = '$statement' AND wait_event = 'virtualxid'}), "held up: $statement");
	my $before = sql('SELECT ticks FROM deploydb.monitor_state');
	$node->poll_query_until('postgres', "SELECT ticks >= $before + 3 FROM deploydb.monitor_state");
	$meanwhile->($statement);
	$reader->quit;
	$builder->finish;
	return $out;
}
my $nobody_is_told = sub { is(sql($events), '', 'nobody is told') };
hold_up('REINDEX INDEX CONCURRENTLY decision_insights_created_at_idx', $nobody_is_told);
hold_up('CREATE INDEX CONCURRENTLY more ON decision_insights (triggers)', $nobody_is_told);
sql('DROP INDEX more');

# One that is ended leaves an index that is not valid.
isnt(told_after('DROP INDEX decision_insights_created_at_idx', 'firing'), '', 'an index is dropped');
like(hold_up('CREATE INDEX CONCURRENTLY decision_insights_created_at_idx ON decision_insights (created_at)', sub {
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = '$_[0]'");
}), qr/terminating connection/, 'and built by a session that is ended');
ok($node->poll_query_until('postgres', q{SELECT message LIKE '%decision_insights_created_at_idx%valid is no%' FROM deploydb.alert_event ORDER BY id DESC LIMIT 1}),
	'what is left of it is told') or diag(sql('SELECT * FROM deploydb.alert_event ORDER BY id'));
isnt(told_after('REINDEX INDEX decision_insights_created_at_idx', 'resolved'), '', 'until it is mended');

like($receiver->stop, qr/deviates \(2\): index decision_insights_created_at_idx is missing; index decision_insights_feature_vector_hash_idx is missing/,
	'the message names them');

$node->stop;
done_testing();

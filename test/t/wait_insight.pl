# How wait_insight() waits: it sees what others commit meanwhile, in a
# REPEATABLE READ transaction and on a standby too, is in nobody's way, and can
# be cancelled.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION deploydb; SELECT ddl FROM deploydb.builtin_migrations() \gexec');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub write_insight
{
	my $decision = shift;
	$primary->safe_psql('postgres', qq{
		INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors, feature_vector_hash, updated_at)
		VALUES ('$decision', '$decision', 'u', '{"attention": 1}', '{"length": 1, "accuracy": 1, "frequency": 1, "forgetting": 1}',
			'0123456789abcdef', now())});
	return;
}

# A session that waits for a decision's insight, for two minutes at most.
sub start_waiting
{
	my ($node, $decision, $begin) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query($begin) if $begin;
	$session->query_until(qr/sent/, "\\echo sent\nSELECT deploydb.wait_insight('$decision', 120000);\n");
	ok($node->poll_query_until('postgres', q{
		SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query ~ '^SELECT deploydb.wait_insight' AND wait_event_type = 'Extension'}), "$decision is waited for");
	return $session;
}

# Ends it; what it printed.
sub end_waiting
{
	my $session = shift;
	my $out = $session->query("SELECT 'after it';");
	$session->quit;
	return $out;
}

my $session = start_waiting($primary, 'plain');
$primary->safe_psql('postgres', q{
	SET lock_timeout = '10s';
	ALTER TABLE decision_insights ADD COLUMN more text;
	ALTER TABLE decision_insights DROP COLUMN more});
pass('a migration of the table need not wait for it');
is($primary->safe_psql('postgres', q{
		SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
		WHERE a.query ~ '^SELECT deploydb.wait_insight' AND a.wait_event_type = 'Extension'
			AND l.relation IN (SELECT oid FROM pg_class WHERE relname LIKE 'decision_insights%')}),
	'0', 'between two looks there is no lock on the table');
write_insight('plain');
my $out = end_waiting($session);
like($out, qr/"problems": \[\]/, 'an insight that comes meanwhile is found');
like($out, qr/after it/, 'and the session goes on');

for my $isolation ('REPEATABLE READ', 'SERIALIZABLE')
{
	$session = start_waiting($primary, $isolation, "BEGIN ISOLATION LEVEL $isolation; SELECT count(*) FROM decision_insights;");
	write_insight($isolation);
	$out = $session->query("SELECT count(*) || ' counted' FROM decision_insights WHERE decision_id = '$isolation';");
	like($out, qr/"problems": \[\]/, "each look has a snapshot of its own: $isolation");
	like($out, qr/0 counted/, 'and the transaction keeps its own');
	$session->query('COMMIT;');
	$session->quit;
}

$session = start_waiting($standby, 'standby');
write_insight('standby');
like(end_waiting($session), qr/"problems": \[\]/, 'on a standby, too');
is($standby->safe_psql('postgres', 'SELECT insights_total FROM deploydb.insight_coverage()'), '4', 'where coverage works as well');

$session = start_waiting($primary, 'cancelled', 'BEGIN; SAVEPOINT before;');
$primary->safe_psql('postgres', q{
	SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query ~ '^SELECT deploydb.wait_insight'});
$out = $session->query("ROLLBACK TO before; SELECT 'still here'; COMMIT;");
unlike($out, qr/problems/, 'a cancelled wait ends');
like($out, qr/still here/, 'and leaves the transaction its savepoints');
$session->quit;

# To wait is not to be slow.
is($primary->safe_psql('postgres', q{
	SET deploydb.slow_query_threshold = '500ms';
	SELECT deploydb.slow_queries() AS before \gset
	SELECT deploydb.wait_insight('nowhere', 700) \g /dev/null
	DO $$ BEGIN PERFORM deploydb.wait_insight('nowhere', 700); END $$;
	SELECT pg_sleep(0.6) \g /dev/null
	SELECT deploydb.slow_queries() - :before}), '1', 'a statement that waited for an insight is no slow one');
foreach my $divisor (1, 0)
{
	my (undef, $stdout) = $primary->psql('postgres', qq{
		SET deploydb.slow_query_threshold = '500ms';
		SELECT deploydb.slow_queries() AS before \\gset
		\\o /dev/null
		COPY (SELECT 1 / CASE WHEN deploydb.wait_insight('nowhere', 700) IS NOT NULL THEN $divisor END) TO STDOUT;
		SELECT pg_sleep(0.6);
		\\o
		SELECT deploydb.slow_queries() - :before}, on_error_stop => 0);
	is($stdout, '1', 'nor does the one after a COPY that waited seem fast, ' . ($divisor ? 'done' : 'failed'));
}

# An error in a look is the caller's to catch, and leaves nothing behind.
is($primary->safe_psql('postgres', q{
	CREATE FUNCTION caught() RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM deploydb.wait_insight('x');
	EXCEPTION WHEN undefined_table THEN
		RETURN SQLSTATE;
	END $$;
	BEGIN;
	DROP TABLE decision_insights;
	SELECT caught();
	ROLLBACK;
	SELECT deploydb.wait_insight('plain') -> 'problems'}), "42P01\n[]", 'an error can be caught');

$standby->stop;
$primary->stop;
done_testing();

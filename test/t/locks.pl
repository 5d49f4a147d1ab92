# Locks: verification queues for none, keeps none, waits no longer than
# deploydb.lock_timeout, and knows an index that is being built from one whose
# build died.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('locks');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
	ALTER SYSTEM SET deploydb.lock_timeout = '200ms';
	SELECT pg_reload_conf();
	CREATE VIEW over_it AS SELECT id FROM decision_insights;
	SELECT deploydb.register_migration('view', 'CREATE TABLE base (id text); CREATE VIEW over_base AS SELECT id FROM base');
	CREATE TABLE base (id text);
	CREATE VIEW over_base AS SELECT id FROM base;
});

sub verdict
{
	my $migration = shift // 'insights';
	return $node->safe_psql('postgres', qq{
		SET client_min_messages = error;
		SELECT coalesce(deploydb_verify_migration('$migration')::text, 'unknown')});
}

# The rows of the report that are not "ok", without the ones of severity info.
sub report
{
	return $node->safe_psql('postgres', q{
		SELECT string_agg(concat_ws(' ', status, object, property), ', ' ORDER BY object, property)
		FROM deploydb.migration_report('insights') WHERE status <> 'ok'});
}

# A session that keeps open what it did.
sub session
{
	return $node->background_psql('postgres', on_error_stop => 0);
}

# Sends SQL; does not wait for its end where that is asked for.
sub send_sql
{
	my ($session, $sql, %options) = @_;

	return $session->query($sql) unless $options{no_wait};
	return $session->query_until(qr/sent/, "\\echo sent\n$sql\n");
}

is(verdict(), 'true', 'it verifies while nobody is in the way');

# ACCESS EXCLUSIVE by another session
my $other = session();
send_sql($other, 'BEGIN; LOCK TABLE decision_insights IN ACCESS EXCLUSIVE MODE;');
is(verdict(), 'unknown', 'a table that is locked is unknown, not missing');
is(report(), 'unknown decision_insights exists', 'and the report says so');
is($node->safe_psql('postgres', q{
		SELECT count(*) FROM pg_locks WHERE NOT granted}), '0', 'nobody queues');
is(verdict('view'), 'true', 'another migration is not concerned');
send_sql($other, 'ROLLBACK; BEGIN; LOCK TABLE base IN ACCESS EXCLUSIVE MODE;');
is(verdict('view'), 'unknown', 'a view over a locked table is unknown');
my ($status, $out, $err) = $node->psql('postgres', q{
	SET deploydb.lock_timeout = '10min';
	SET statement_timeout = '100ms';
	SELECT deploydb_verify_migration('view')});
like($err, qr/canceling statement due to statement timeout/, 'a wait can be cancelled');
send_sql($other, 'LOCK TABLE decision_insights IN ACCESS EXCLUSIVE MODE;');
is($node->safe_psql('postgres', q{
		SET client_min_messages = error;
		SET deploydb.lock_timeout = '2s';
		SELECT bool_and(deploydb_verify_migration(m) IS NULL), clock_timestamp() - statement_timestamp() < interval '8 seconds'
		FROM unnest('{insights,view,insights,view}'::text[]) m}), 't|t', 'a statement that finds four locked waits once');
send_sql($other, 'ROLLBACK;');

# Whoever alters the table himself is not locked out by that
is($node->safe_psql('postgres', q{
		SET client_min_messages = error;
		BEGIN;
		ALTER TABLE decision_insights ADD COLUMN more text;
		SELECT deploydb_verify_migration('insights')}), 't', 'one\'s own lock is no obstacle');

# No lock stays behind in a transaction
is($node->safe_psql('postgres', q{
		BEGIN;
		SELECT * FROM deploydb_verify_migration(), deploydb.migration_report() LIMIT 0;
		SELECT deploydb_verify_migration();
		SELECT count(*) FROM pg_locks
		WHERE pid = pg_backend_pid() AND relation IN
			('decision_insights'::regclass, 'base'::regclass, 'over_base'::regclass)
		}), "t\n0", 'no lock on the application\'s relations is kept');

# An index that is being built; the open transaction holds the build up
send_sql($other, q{BEGIN; INSERT INTO decision_insights VALUES ('a', 'a', 'a', '{}', '{}', NULL, 'a', now(), now());});
$node->safe_psql('postgres', 'DROP INDEX IF EXISTS by_hash');
my $builder = session();
send_sql($builder, 'CREATE INDEX CONCURRENTLY being_built ON decision_insights (feature_vector_hash);', no_wait => 1);
ok($node->poll_query_until('postgres', q{
		SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('being_built') AND NOT indisvalid)}),
	'an index is being built');
is(report(), 'building being_built exists', 'it is reported as building');
is(verdict(), 'true', 'which is no error');
$node->safe_psql('postgres', q{
	SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index});
ok($node->poll_query_until('postgres', q{
		SELECT count(*) = 0 FROM pg_stat_progress_create_index}), 'the build is cancelled');
send_sql($other, 'COMMIT;');
is(report(), 'unexpected being_built exists', 'what it left behind is unexpected');
$node->safe_psql('postgres', $node->safe_psql('postgres',
		q{SELECT fix FROM deploydb.migration_report('insights')}));
is(report(), '', 'and the fix removes it');

# An expected one whose build died of a duplicate
$node->safe_psql('postgres', q{
	DROP INDEX decision_insights_decision_id_key;
	INSERT INTO decision_insights VALUES ('b', 'a', 'a', '{}', '{}', NULL, 'a', now(), now())});
$node->psql('postgres', 'CREATE UNIQUE INDEX CONCURRENTLY decision_insights_decision_id_key ON decision_insights (decision_id)');
is(report(), 'different decision_insights_decision_id_key ready, different decision_insights_decision_id_key valid',
	'an INVALID index of the right name is no index');
is(verdict(), 'false', 'and an error');
$node->safe_psql('postgres', q{DELETE FROM decision_insights WHERE id = 'b'});
$node->safe_psql('postgres', $node->safe_psql('postgres',
		q{SELECT fix FROM deploydb.migration_report('insights')}));
is(verdict(), 'true', 'REINDEX INDEX CONCURRENTLY mends it');

# REINDEX CONCURRENTLY builds beside what is there
send_sql($other, q{BEGIN; UPDATE decision_insights SET user_id = 'b';});
send_sql($builder, 'REINDEX INDEX CONCURRENTLY decision_insights_created_at_idx;', no_wait => 1);
ok($node->poll_query_until('postgres', q{
		SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'decision_insights_created_at_idx_ccnew')}),
	'an index is being rebuilt');
is(verdict(), 'true', 'the old one serves meanwhile');
send_sql($other, 'COMMIT;');
ok($node->poll_query_until('postgres', q{
		SELECT NOT EXISTS (SELECT FROM pg_class WHERE relname LIKE '%ccnew')}), 'it ends');
is(report(), '', 'and nothing is left');

$_->quit for $other, $builder;

# DDL at the same time: an answer each time, and never an error
my $churn = $node->basedir . '/churn.sql';
append_to_file($churn, q{
	ALTER TABLE decision_insights ADD COLUMN churn text;
	CREATE INDEX churn_idx ON decision_insights (churn);
	ALTER TABLE decision_insights DROP COLUMN churn;
	CREATE OR REPLACE VIEW over_base AS SELECT id FROM base;
	DROP TABLE IF EXISTS passing; CREATE TABLE passing (id int);
});
my $verify = $node->basedir . '/verify.sql';
append_to_file($verify, q{
	SELECT deploydb_verify_migration();
	SELECT count(*) FROM deploydb.facts('{decision_insights,over_base,passing}');
});
my $ddl = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port,
		'-c', 1, '-t', 200, '-f', $churn, 'postgres' ], '>', \my $ddl_out, '2>', \my $ddl_err);
command_ok([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port,
		'-c', 2, '-t', 200, '-f', $verify, 'postgres' ], 'verifying while others change the table');
ok($ddl->finish, 'and they do not mind');
unlike(slurp_file($node->logfile), qr/ERROR:  cache lookup failed|terminated by signal/,
	'no look-up failed in the log');

$node->stop;
done_testing();

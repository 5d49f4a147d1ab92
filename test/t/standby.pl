# On a hot standby: the ledger and the environment are read, the smoke test
# writes nothing, and nothing raises.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	CREATE UNLOGGED TABLE unlogged (id text);
	CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
		finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
		rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
		applied_steps_count integer NOT NULL DEFAULT 0);
	INSERT INTO _prisma_migrations VALUES ('1',
		'cc49202aa411c809a0737a90a287c652242d50144a942f92d573ede8dc4d9203', now(),
		'20251203071615_add_decision_insights', NULL, NULL, now(), 1)});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

catch_up();
is($standby->safe_psql('postgres', q{SELECT state, checksum FROM deploydb.ledger('add_decision_insights')}),
	'applied|exact', 'the ledger is read');
is($standby->safe_psql('postgres', q{SELECT DISTINCT status, detail FROM deploydb.smoke_test()}),
	'skipped|this server is a standby', 'every step of the smoke test is skipped');
is($standby->safe_psql('postgres', q{SELECT count(*) > 10, bool_or(status = 'unknown') FROM deploydb.check_environment()}),
	't|f', 'the environment is checked');

# Verification, without a row of history; and what cannot be derived here
$primary->safe_psql('postgres', 'SELECT ddl FROM deploydb.builtin_migrations() \gexec');
catch_up();
is($standby->safe_psql('postgres', 'SELECT deploydb_verify_migration()'), 't', 'a migration is verified');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM deploydb.verification_history'), '0', 'without a row of history');
$primary->safe_psql('postgres', 'DELETE FROM deploydb.expectation');
catch_up();
is($standby->safe_psql('postgres', q{
		SET client_min_messages = error;
		SELECT deploydb_verify_migration() IS NULL, (SELECT status FROM deploydb.migration_report())}),
	't|stale', 'without facts, and with no way to derive them, it is not known');

$primary->safe_psql('postgres', 'ALTER TABLE _prisma_migrations SET UNLOGGED');
catch_up();
is($standby->safe_psql('postgres', q{SELECT state IS NULL, note FROM deploydb.ledger('add_decision_insights')}),
	't|public._prisma_migrations is not a table as Prisma makes it', 'an unlogged ledger has no rows here');

foreach my $call (q{track('w')}, q{untrack('decision_insights')}, 'reset_write_stats()',
	q{report_client_failures('decision_insights', 1, 'x')}, 'take_write_sample()')
{
	my ($ended, $got, $error) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT deploydb.$call");
	like($error, qr/ERROR:  25006: this server is a standby.*HINT:  Call it on the primary/s, "no $call");
}

$standby->promote;
is($standby->safe_psql('postgres', q{SELECT status FROM deploydb.smoke_test('unlogged') WHERE step = 'write'}),
	'ok', 'after promotion the smoke test writes');
is($standby->safe_psql('postgres', 'SELECT deploydb_verify_migration()'), 't', 'and facts are derived again');

$standby->stop;
$primary->stop;
done_testing();

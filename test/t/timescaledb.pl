# TimescaleDB: a table is verified beside hypertables, and a hypertable too.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('timescaledb');
$node->init;
$node->start;
if ($node->safe_psql('postgres', q{
		SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'}) eq '0')
{
	$node->stop;
	plan skip_all => 'TimescaleDB is not installed';
}
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'timescaledb, deploydb'\ntimescaledb.telemetry_level = off\n");
$node->restart;
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE EXTENSION timescaledb;
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
	CREATE TYPE "DecisionIngestionStatus" AS ENUM ('PENDING', 'SUCCESS', 'FAILED');
	CREATE TABLE decision_records (id text, "decisionId" text NOT NULL,
		"timestamp" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
		"ingestionStatus" "DecisionIngestionStatus" DEFAULT 'PENDING',
		PRIMARY KEY (id, "timestamp"));
	SELECT create_hypertable('decision_records', 'timestamp');
	INSERT INTO decision_records (id, "decisionId") VALUES ('a', 'a');
});
is($node->safe_psql('postgres', 'SELECT deploydb_verify_migration()'), 't',
	'a table beside hypertables verifies');
is($node->safe_psql('postgres', q{
		SELECT deploydb.import_migration(deploydb.capture_migration('records', '{decision_records}')) > 0}), 't',
	'a hypertable is captured');
is($node->safe_psql('postgres', q{SELECT deploydb_verify_migration('records')}), 't', 'and verifies');
is($node->safe_psql('postgres', q{
		SELECT status FROM deploydb.check_environment() WHERE item = 'timescaledb'}), 'ok',
	'the environment has it');
$node->stop;
done_testing();

# TimescaleDB: a table is verified beside hypertables, and a hypertable too; and
# what is written into one is counted, whichever of both is preloaded first.
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

my $counts = q{SELECT concat_ws(' ', attempts, succeeded, failed, rolled_back, rejected, rows_written)
	FROM deploydb.write_stats('1 hour', 'hyper')};
foreach my $libraries ('timescaledb, deploydb', 'deploydb, timescaledb')
{
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	$node->restart;
	$node->safe_psql('postgres', q{
		SET client_min_messages = error;
		DROP TABLE IF EXISTS hyper;
		CREATE TABLE hyper (id text, at timestamptz NOT NULL DEFAULT now(), v int CHECK (v >= 0), PRIMARY KEY (id, at));
		SELECT create_hypertable('hyper', 'at');
		SELECT deploydb.track('hyper');
		SELECT deploydb.reset_write_stats('hyper')});
	$node->psql('postgres', $_) foreach q{INSERT INTO hyper (id, v) VALUES ('a', 1), ('b', 1)}, 'UPDATE hyper SET v = 2',
	  q{INSERT INTO hyper (id, v) VALUES ('c', -1)}, q{INSERT INTO hyper (id, v) VALUES ('d', 1) ON CONFLICT DO NOTHING},
	  q{INSERT INTO hyper (id, v) VALUES ('e', 1) ON CONFLICT (id, at) DO UPDATE SET v = 3 RETURNING id},
	  q{BEGIN; INSERT INTO hyper (id, v) VALUES ('f', 1); ROLLBACK},
	  q{WITH q AS (INSERT INTO hyper (id, v) VALUES ('g', 1) RETURNING id) SELECT id FROM q},
	  q{DO $$ BEGIN INSERT INTO hyper (id, v) VALUES ('h', -1); EXCEPTION WHEN check_violation THEN NULL; END $$},
	  q{DELETE FROM hyper WHERE id = 'a'};
	is($node->safe_psql('postgres', $counts), '8 5 2 1 0 6', "$libraries: what is written into a hypertable is counted");
	$node->psql('postgres', q{COPY hyper (id, v) FROM PROGRAM 'echo i,1' WITH (FORMAT csv)});
	like($node->safe_psql('postgres', "SELECT count(*) FROM hyper WHERE id = 'i'"), qr/^1$/, 'COPY writes');
	note('after COPY: ', $node->safe_psql('postgres', $counts));
}
$node->stop;
done_testing();

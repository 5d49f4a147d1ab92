# Changes of watched tables' definitions are noted, whoever makes them, whether
# deploydb is preloaded or not, and fail nobody's statement.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "deploydb.monitor = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE DATABASE app');
$node->safe_psql('app', 'CREATE SCHEMA shop AUTHORIZATION app; CREATE EXTENSION deploydb');
my $ddl = $node->safe_psql('app', 'SELECT ddl FROM deploydb.builtin_migrations()');

# As a role without any right on deploydb; what it sees besides the result
sub run_as_app
{
	my ($sql, $name) = @_;
	my ($code, $out, $err) = $node->psql('app', "SET search_path = shop; SET application_name = 'deploy'; $sql",
		extra_params => [ '-U', 'app', '-v', 'ON_ERROR_STOP=1' ]);
	is($code, 0, $name) or diag($err);
	return $err;
}

sub noted
{
	my $rows = $node->safe_psql('app', q{SELECT string_agg(command || ' ' || object, ', ' ORDER BY id) FROM deploydb.definition_change});
	$node->safe_psql('app', 'DELETE FROM deploydb.definition_change');
	return $rows;
}

for my $preloaded (0, 1)
{
	my $how = $preloaded ? 'preloaded' : 'not preloaded';
	if ($preloaded)
	{
		$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'\n");
		$node->restart;
	}

	is(run_as_app($ddl, "$how: a role without rights migrates"), '', 'without a word');
	is($node->safe_psql('app', q{SELECT DISTINCT session_role || ' ' || application FROM deploydb.definition_change}),
		'app deploy', 'who did it, by which application');
	like(noted(), qr/^CREATE TABLE shop\.decision_insights, CREATE INDEX shop\.decision_insights_pkey, CREATE INDEX shop\.decision_insights_decision_id_key/, 'and what');

	run_as_app('CREATE TABLE other (id int); DROP TABLE other; CREATE TEMPORARY TABLE decision_insights (id int)', 'other tables');
	is(noted(), '', 'are not noted, nor are temporary ones');
	run_as_app('ALTER TABLE decision_insights RENAME TO gone; ALTER TABLE gone RENAME TO decision_insights', 'renamed, and back');
	is(noted(), 'ALTER TABLE shop.gone, ALTER TABLE shop.decision_insights', 'is noted');
	run_as_app('ALTER TABLE decision_insights ADD CHECK (id <> $$$$); CREATE INDEX CONCURRENTLY more ON decision_insights (id);
		DROP INDEX more; ALTER TABLE decision_insights ALTER triggers DROP DEFAULT, DROP COLUMN triggers', 'changed');
	is(noted(), 'ALTER TABLE shop.decision_insights, CREATE INDEX shop.more, DROP INDEX shop.more, '
		. 'ALTER TABLE shop.decision_insights.triggers, ALTER TABLE for shop.decision_insights.triggers, '
		. 'ALTER TABLE shop.decision_insights', 'each change');
	run_as_app('BEGIN; DROP TABLE decision_insights; ROLLBACK', 'what is rolled back');
	is(noted(), '', 'is not noted');
	$node->safe_psql('app', 'ALTER SCHEMA shop RENAME TO store; ALTER SCHEMA store RENAME TO shop');
	is(noted(), 'ALTER SCHEMA store, ALTER SCHEMA shop', 'its schema renamed');

	run_as_app('DROP TABLE decision_insights; CREATE TABLE decision_insights (id int) PARTITION BY RANGE (id);
		CREATE TABLE part PARTITION OF decision_insights FOR VALUES FROM (1) TO (9)', 'partitioned');
	$node->safe_psql('app', 'SELECT deploydb.refresh_watched()');
	noted();
	run_as_app('ALTER TABLE part ADD CHECK (id > 0); DROP TABLE part', 'a partition changes, and is dropped');
	is(noted(), 'ALTER TABLE shop.part, DROP TABLE shop.part', 'which is noted');
	run_as_app('DROP OWNED BY app', 'everything is dropped');
	like(noted(), qr/^DROP OWNED shop\.decision_insights/, 'which is noted');
	$node->safe_psql('app', 'DROP SCHEMA IF EXISTS shop CASCADE; CREATE SCHEMA shop AUTHORIZATION app');

	run_as_app($ddl, 'once more');
	noted();
	$node->safe_psql('app', q{SET client_min_messages = error;
		SELECT deploydb.register_migration('20990101_more', 'ALTER TABLE decision_insights ADD COLUMN more text');
		SELECT deploydb.forget_migration('20990101_more');
		SELECT count(*) FROM deploydb.smoke_test()});
	is(noted(), '', 'a replay and a smoke test are nobody\'s changes');

	# What cannot be noted
	$node->safe_psql('app', 'ALTER TABLE deploydb.definition_change ADD CONSTRAINT never CHECK (false) NOT VALID');
	my $lost = $node->safe_psql('app', 'SELECT deploydb.lost_changes()');
	my $err = run_as_app('ALTER TABLE decision_insights ADD COLUMN one int, ADD COLUMN two int, ADD COLUMN three int', 'what cannot be noted is done');
	is(scalar(() = $err =~ /WARNING:  deploydb could not note/g), 1, 'with one WARNING');
	is($node->safe_psql('app', 'SELECT deploydb.lost_changes()'), $lost + 1, 'and is counted');
	$err = run_as_app('ALTER TABLE decision_insights DROP COLUMN three', 'what drops a part of a table is two changes');
	is(scalar(() = $err =~ /WARNING:  deploydb could not note/g), 1, 'with one WARNING for both');
	is($node->safe_psql('app', 'SELECT deploydb.lost_changes()'), $lost + 2, 'and counted once');
	$err = run_as_app('BEGIN; DROP INDEX decision_insights_decision_id_key; ALTER TABLE decision_insights ADD COLUMN three int; SAVEPOINT a; ALTER TABLE decision_insights DROP COLUMN one;
		ROLLBACK TO a; ALTER TABLE decision_insights ADD COLUMN four int; ROLLBACK', 'several statements in a transaction');
	is(scalar(() = $err =~ /WARNING:  deploydb could not note/g), 4, 'each has its own');
	is($node->safe_psql('app', 'SELECT deploydb.lost_changes()'), $lost + 6, 'and counts');
	$node->safe_psql('app', 'ALTER TABLE deploydb.definition_change DROP CONSTRAINT never');

	my $locker = $node->background_psql('app');
	$locker->query_safe('BEGIN; LOCK TABLE deploydb.definition_change');
	my $begun = time;
	like(run_as_app('ALTER TABLE decision_insights DROP COLUMN one', 'nor does a lock hold anybody up'),
		qr/lock timeout/, 'the WARNING says why');
	note('after ', time - $begun, ' s');
	like(run_as_app(q{SET statement_timeout = '700ms'; ALTER TABLE decision_insights ADD COLUMN zero int, DROP COLUMN triggers},
		'nor where less time is left to the statement'), qr/lock timeout/, 'which is said, too');
	$locker->quit;

	$node->safe_psql('app', 'ALTER DATABASE app SET deploydb.capture_statements = on');
	run_as_app('/* OPS-17 */ ALTER TABLE decision_insights DROP COLUMN two', 'where statements are wanted');
	like($node->safe_psql('app', 'SELECT statement FROM deploydb.definition_change ORDER BY id DESC LIMIT 1'), qr/OPS-17/, 'they are kept');
	$node->safe_psql('app', 'ALTER DATABASE app RESET deploydb.capture_statements');
	noted();
	is($node->safe_psql('app', q{SELECT count(*) FROM deploydb.definition_change WHERE statement IS NOT NULL}), '0', 'else not');
	$node->safe_psql('app', q{DROP TABLE shop.decision_insights;
		SELECT deploydb.register_migration('20990102_other', 'CREATE TABLE another (id int)')});
	noted();
	run_as_app('SET quote_all_identifiers = on; CREATE TABLE another (id int); DROP TABLE another', 'whatever is quoted');
	is(noted(), 'CREATE TABLE "shop"."another", DROP TABLE "shop"."another"', 'a table of a known migration is known');
	$node->safe_psql('app', q{SELECT deploydb.forget_migration('20990102_other')});

	# Types of a known migration
	$node->safe_psql('app', q{SELECT deploydb.register_migration('20990103_types', $$
		CREATE TYPE "IngestionStatus" AS ENUM ('PENDING', 'SUCCESS'); CREATE DOMAIN confidence AS float8; CREATE TYPE factor AS (name text)$$)});
	noted();
	run_as_app(q{CREATE TYPE "IngestionStatus" AS ENUM ('PENDING'); ALTER TYPE "IngestionStatus" ADD VALUE 'FAILED';
		ALTER TYPE "IngestionStatus" RENAME VALUE 'PENDING' TO 'WAITING'; ALTER TYPE "IngestionStatus" OWNER TO app;
		ALTER TYPE "IngestionStatus" RENAME TO old; ALTER TYPE old RENAME TO "IngestionStatus"}, 'an enum');
	is(noted(), 'CREATE TYPE shop."IngestionStatus", ALTER TYPE shop."IngestionStatus", ALTER TYPE shop."IngestionStatus", '
		. 'ALTER TYPE shop."IngestionStatus", ALTER TYPE shop.old, ALTER TYPE shop."IngestionStatus"', 'each change is noted');
	$node->safe_psql('app', 'DELETE FROM deploydb.watched_relation; SELECT deploydb.refresh_watched()');
	run_as_app('ALTER TYPE "IngestionStatus" RENAME TO old; DROP TYPE old', 'one that was there before');
	is(noted(), 'ALTER TYPE shop.old, DROP TYPE shop.old', 'is known by what it was');
	run_as_app('CREATE DOMAIN confidence AS float8; ALTER DOMAIN confidence ADD CHECK (value >= 0); DROP DOMAIN confidence', 'a domain');
	is(noted(), 'CREATE DOMAIN shop.confidence, ALTER DOMAIN shop.confidence, DROP DOMAIN shop.confidence', 'likewise');
	run_as_app('CREATE TYPE factor AS (name text); ALTER TYPE factor ADD ATTRIBUTE weight float8; DROP TYPE factor', 'a composite type');
	is(noted(), 'CREATE TYPE shop.factor, ALTER TYPE shop.factor, DROP TYPE shop.factor', 'likewise, once');
	run_as_app(q{CREATE TYPE mood AS ENUM ('glad'); ALTER TYPE mood ADD VALUE 'sad'; DROP TYPE mood}, 'another type');
	is(noted(), '', 'is not noted');
	$node->safe_psql('app', q{SELECT deploydb.forget_migration('20990103_types')});
}

$node->stop;
done_testing();

# Much of everything: other tables, calls in one session, registrations.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('many');
$node->init;
$node->append_conf('postgresql.conf', "max_locks_per_transaction = 1024\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION deploydb;
	SELECT ddl FROM deploydb.builtin_migrations() \gexec
});

# Bytes in use by the session after so many calls; one session, two readings.
sub growth
{
	my ($first, $then, $call) = @_;
	my $sum = q{SELECT sum(used_bytes) FROM pg_backend_memory_contexts};
	my $loop = 'DO $$BEGIN FOR i IN 1..%d LOOP BEGIN ' . $call
	  . '; EXCEPTION WHEN undefined_object THEN NULL; END; END LOOP; END$$;';
	my $out = $node->safe_psql('postgres',
		"SET client_min_messages = error;\n" . sprintf($loop, $first) . "\n$sum;\n"
		  . sprintf($loop, $then) . "\n$sum;\n");
	my ($before, $after) = split /\n/, $out;
	return $after - $before;
}
cmp_ok(growth(200, 5000, 'PERFORM deploydb_verify_migration()'), '<', 16384,
	'verifying leaks no memory');
cmp_ok(growth(200, 2000, q{PERFORM deploydb_verify_migration('nobody knows it')}), '<', 16384,
	'nor does an error');
# Each scratch schema leaves some negative entries in the catalog caches.
cmp_ok(growth(20, 200, q{PERFORM deploydb.register_migration('r', 'CREATE TABLE r (id int)')}), '<', 200 * 4096,
	'registering costs no more than the server\'s caches keep');
$node->safe_psql('postgres', q{
	SELECT deploydb.forget_migration('r');
	ALTER TABLE decision_insights DROP COLUMN user_id, ADD COLUMN more text NOT NULL});
cmp_ok(growth(100, 1000, 'PERFORM count(*) FROM deploydb.migration_report()'), '<', 16384,
	'nor does a report');
$node->safe_psql('postgres', 'SELECT fix FROM deploydb.migration_report() WHERE fix IS NOT NULL \gexec')
  for 1 .. 2;
my $alone = $node->safe_psql('postgres', q{SELECT deploydb.migration_fingerprint('insights')});

# Ten thousand other tables
$node->safe_psql('postgres', qq{
	DO \$\$BEGIN FOR i IN 1..2500 LOOP
		EXECUTE format('CREATE TABLE t%s ()', (SELECT $_ * 2500 + i)); END LOOP; END\$\$}) for 0 .. 3;
is($node->safe_psql('postgres', 'SELECT deploydb_verify_migration()'), 't',
	'beside 10,000 other tables it verifies');
is($node->safe_psql('postgres', q{SELECT deploydb.migration_fingerprint('insights')}), $alone,
	'and the fingerprint is the same');

# Many migrations, more than the overview shows
$node->safe_psql('postgres', q{
	SELECT deploydb.register_migration(format('2026%s_t', i), format('CREATE TABLE m%s (id int)', i))
	FROM generate_series(10, 39) i});
is($node->safe_psql('postgres', 'SELECT count(*) FROM deploydb.known_migration'), '31',
	'31 migrations are known');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM deploydb_status()'), '<=', 17,
	'the overview stays short');
is($node->safe_psql('postgres', 'SET client_min_messages = error; SELECT deploydb_verify_migration()'),
	'f', 'and what is missing is found');

$node->stop;
done_testing();

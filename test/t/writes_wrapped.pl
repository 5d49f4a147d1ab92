# What writes may lie below another extension's node, as it does below that of
# TimescaleDB for a hypertable: every way in which a write can end, all the same.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Writes;

my $config = $ENV{PG_CONFIG} || 'pg_config';
my $module = PostgreSQL::Test::Utils::tempdir() . '/wrapped_plans.so';
chomp(my $include = qx($config --includedir-server));
system_or_bail('gcc', '-O1', '-shared', '-fPIC', '-Isrc', '-isystem', $include, "$FindBin::RealBin/../lib/wrapped_plans.c", '-o', $module);

my $node = PostgreSQL::Test::Cluster->new('wrapped');
$node->init(extra => [ '--encoding', 'UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'deploydb, $module'
deploydb.monitor = off
max_prepared_transactions = 10
log_min_messages = warning
});
$node->start;
$node->safe_psql('postgres', Writes::setup_sql());
foreach my $write ('INSERT INTO w VALUES (1, 1)', 'UPDATE w SET v = 1', 'WITH q AS (DELETE FROM w) UPDATE w SET v = 1')
{
	like($node->safe_psql('postgres', "EXPLAIN (COSTS OFF) $write"), qr/^Custom Scan \(Wrapped\)/, "wrapped: $write");
}

Writes::try_each_way($node);
$node->stop;
done_testing();

# Every function, view, table and setting has its place in the reference.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('docs');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION deploydb');

my $reference = slurp_file('docs/reference.md');
my @names = split /\n/, $node->safe_psql('postgres', q{
	SELECT p.proname || '(' FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
		JOIN pg_extension e ON e.oid = d.refobjid AND d.deptype = 'e' WHERE e.extname = 'deploydb'
	UNION SELECT CASE c.relkind WHEN 'v' THEN 'view ' ELSE 'table ' END || c.relname
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'deploydb' AND c.relkind IN ('r', 'v')
	UNION SELECT name FROM pg_settings WHERE name LIKE 'deploydb.%'
	ORDER BY 1});
cmp_ok(scalar @names, '>', 30, 'there is something to look for');
for my $name (@names)
{
	ok(index($reference, $name) >= 0, "docs/reference.md has $name");
}

$node->stop;
done_testing();

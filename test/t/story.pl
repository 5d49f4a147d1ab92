# The story that ./scripts/quickstart tells: a migration that the ledger says
# is there and that is not, found, mended, and found to be there.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $migration = '20251203071615_add_decision_insights';
my $node = PostgreSQL::Test::Cluster->new('story');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'deploydb'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE vocabulary TEMPLATE template0 ENCODING UTF8');

my ($out, $err) = ('', '');
my $status = $node->psql('vocabulary', slurp_file('scripts/story.sql'),
	stdout => \$out, stderr => \$err);

is($status, 0, 'the story runs to its end');
is_deeply([ $out =~ /^ ([tf])$/mg ],
	[ 'f', 't' ], 'it does not verify, and does after the fixes');
like($err, qr/WARNING:  column decision_insights\.triggers: type is text, expected text\[\]\nHINT:  ALTER TABLE/,
	'a warning names the deviation and the SQL that mends it');
like($err, qr/WARNING:  $migration: 14 errors, 6 warnings/, 'the deviations are counted');
like($err, qr/WARNING:  $migration: 0 errors, 2 warnings/,
	'a row that was only claimed, and a constraint for an index, stay');
is( $node->safe_psql('vocabulary', q{
		SELECT string_agg(object_type || ' ' || property, ', ' ORDER BY object_type)
		FROM deploydb.migration_report()}),
	'index constraint, ledger state', 'and nothing else');
like($out, qr/^ +401 \| +394 \| +6 \| +1 \| +0\.9825 \| breached$/m, 'a rate with real failures');
like($out, qr/^ 23505 +\| unique_violation +\| +5 \| decision_insights_decision_id_key$/m, 'and what they are');

$node->stop;
done_testing();

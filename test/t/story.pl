# The story that ./scripts/quickstart tells: a migration that the ledger says
# is there and that is not, found, mended, and found to be there; its writes; and
# an index that somebody drops, of which a webhook is told.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Story;
use Test::More;

my $migration = '20251203071615_add_decision_insights';
my $node = PostgreSQL::Test::Cluster->new('story');
$node->init;
$node->append_conf('postgresql.conf', $Story::settings);
$node->start;
my $receiver = Story::Receiver->new;
$node->safe_psql('postgres', 'CREATE DATABASE vocabulary TEMPLATE template0 ENCODING UTF8');

my ($out, $err) = ('', '');
my $status = $node->psql('vocabulary', slurp_file('scripts/story.sql'),
	stdout => \$out, stderr => \$err, extra_params => [ '-v', 'receiver=' . $receiver->url ]);
my $received = $receiver->stop;

is($status, 0, 'the story runs to its end');
is_deeply([ ($out =~ /^ ([tf])$/mg)[0, 1] ],
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
my $told = join '.*', 'This is a test of deploydb\.', ':rotating_light: \[P0\] migration_drift \(vocabulary\b',
	'Status: FIRING .* Value: 1\.0000', "Migration $migration deviates \\(1\\): index decision_insights_created_at_idx is missing",
	':white_check_mark: \[P0\] migration_drift ', 'Status: RESOLVED';
like($received, qr/$told/s, 'the receiver is told of a dropped index, and that it is back');
like($out, qr/CREATE INDEX \| public\.decision_insights_created_at_idx\n.*DROP INDEX +\| public\.decision_insights_created_at_idx/,
	'and people can see who did that');
like($out, qr/^ 23505 +\| unique_violation +\| +5 \| decision_insights_decision_id_key$/m, 'and what they are');

$node->stop;
done_testing();

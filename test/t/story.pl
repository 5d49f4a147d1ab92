# The stories that ./scripts/quickstart tells.  A migration that the ledger says
# is there and that is not, found, mended, and found to be there; its writes; and
# an index that somebody drops, of which a webhook is told.  And a deployment.
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
unlike($out, qr/^ alerts .*migration_drift/m, 'what was mended does not fire any more');
my $told = join '.*', 'This is a test of deploydb\.', ':rotating_light: \[P0\] migration_drift \(vocabulary\b',
	'Status: FIRING .* Value: 1\.0000', "Migration $migration deviates \\(1\\): index decision_insights_created_at_idx is missing",
	':white_check_mark: \[P0\] migration_drift ', 'Status: RESOLVED';
like($received, qr/$told/s, 'the receiver is told of a dropped index, and that it is back');
like($out, qr/CREATE INDEX \| public\.decision_insights_created_at_idx\n.*DROP INDEX +\| public\.decision_insights_created_at_idx/,
	'and people can see who did that');
like($out, qr/^ 23505 +\| unique_violation +\| +5 \| decision_insights_decision_id_key$/m, 'and what they are');

# A deployment, in a server that has had one story told

$node->append_conf('postgresql.conf', "deploydb.metrics_collection_interval = '1s'");
$node->reload;
$receiver = Story::Receiver->new;
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
(my $told_all, $out, my $folder) = Story::deployment($node, $superuser, $receiver, '-P', 'format=aligned');
$received = $receiver->stop;
ok($told_all, 'the deployment comes to its end') or diag $out;
is(scalar(() = $out =~ /^ERROR: /mg), 3, 'with the errors that it tells of') or diag $out;
like($out, qr/^ERROR:  P3018: .* relation "decision_insights_created_at_idx" already exists\n.*^ERROR:  P3009: /ms, 'a migration fails');
like($out, qr/^ 2 +\| public\.decision_insights +\| 140 +\| deploydb_backup\.decision_insights_2 \| \[\] +\| 1$/m, 'a plan says what is moved, and which backup there is');
like($out, qr/^ERROR:  somebody has written in the last minute, perhaps role "app"$/m, 'a rollback is refused while the application writes');
is_deeply([ $out =~ /^ (go|no_go)\b/mg ], [ 'go', 'go' ], 'it may begin, and it went well')
  or diag $out;
is_deeply([ $out =~ /^ deploydb_verify_migration\s*\n-+\n ([tf])$/mg ], [ 't', 't', 't' ], 'the migration is there: on staging, and twice in production');
like($received, qr/$_/, "the team is told: $_") for 'has started', 'are verified', '\\[P0\\] rollback_error_rate',
  'was rolled back by .*: P3018', 'was rolled back by .*: 7 of 100 requests fail', 'RESOLVED', 'is finished: succeeded';
is($node->safe_psql('production', q{
		SELECT array_agg(state ORDER BY id) FROM deploydb.rollback}), '{rolled_back,rolled_back}', 'two were rolled back');
is($node->safe_psql('production', q{
		SELECT string_agg(action, ', ' ORDER BY id) FROM deploydb.log_entry WHERE action IN ('rolled back', 'migration verified')}),
	'rolled back, migration verified, rolled back, migration verified', 'after each the log says that the migration is there again');
is($node->safe_psql('production', 'SELECT count(*) FROM decision_insights'), '141', 'no row was lost');
is($node->safe_psql('production', q{SELECT string_agg(role || ' ' || state, ', ' ORDER BY role) FROM deploydb.sign_off_status WHERE valid}),
	'dba signed, devops signed, technical_lead signed', 'three have signed, and their signatures hold');
is($node->safe_psql('production', 'SELECT string_agg(status, \',\') FROM deploydb.backup'), 'restore_tested', 'the backup was restored');
like(slurp_file("$folder/report.md"), qr/^# Week 3 - AMAS Monitoring System\n.*^- \[x\] met The production database is backed up.*^- \[x\] DBA: /ms,
	'the report is filled and signed');
like(slurp_file("$folder/report.md"), qr/^\|[^|]*DBA[^|]*\| on-call DBA \| #dba \|$/m, 'it says whom to call');
like(slurp_file("$folder/report.md"), qr/^- \[ \] no reason Error rate \(P0\) > 5% .*\n.*\n  - Expected: no reason$/m, 'what is no reason to roll back is not called unmet');
like(slurp_file("$folder/report.zh-CN.md"), qr/^- \[x\] \S+ \S*备份\S* \(db\.backup\)$/m, 'in Chinese too');

$node->stop;
done_testing();

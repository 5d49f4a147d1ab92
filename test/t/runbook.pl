# The runbook, in both languages: its statements run as they are written, from
# the start of a deployment to a rollback.
use strict;
use warnings;

use Cwd;
use File::Spec;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @pages = map { [ $_, File::Spec->rel2abs("docs/$_") ] } 'operations-runbook.md', 'operations-runbook.zh-CN.md';

# Fenced blocks, without the indentation of a list.
sub blocks
{
	my @blocks = slurp_file(shift) =~ /^( *)```\n(.*?)^\1```$/msg;
	my @texts;
	while (my ($indent, $text) = splice @blocks, 0, 2)
	{
		$text =~ s/^$indent//mg;
		push @texts, $text;
	}
	return @texts;
}

my ($config, @statements) = blocks($pages[0][1]);
(undef, my @chinese) = blocks($pages[1][1]);
is(scalar @chinese, scalar @statements, 'both pages have the same blocks');

foreach my $page (@pages)
{
	my ($name, $path) = @$page;
	my $node = PostgreSQL::Test::Cluster->new($name =~ /zh/ ? 'chinese' : 'english');
	$node->init;
	$node->append_conf('postgresql.conf', (blocks($path))[0]);
	$node->start;
	$node->safe_psql('postgres', join ';', map { "CREATE ROLE $_ LOGIN" } qw(app deployer lead dba devops));
	$node->safe_psql('postgres', "CREATE DATABASE $_ ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0") for 'vocabulary', 'staging';
	$node->safe_psql($_, 'CREATE EXTENSION deploydb') for 'vocabulary', 'staging';
	my $here = PostgreSQL::Test::Utils::tempdir();

	my $migrate = sub {
		my $database = shift;
		$node->safe_psql($database, $node->safe_psql($database, 'SELECT ddl FROM deploydb.builtin_migrations()'));
		$node->safe_psql($database, q{
			CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
				migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
				started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
			INSERT INTO _prisma_migrations (id, migration_name, checksum, started_at, finished_at, applied_steps_count)
			SELECT gen_random_uuid(), migration, checksum, now(), now() + interval '1 second', 1 FROM deploydb.builtin_migrations()});
	};
	$migrate->('staging');
	append_to_file("$here/staging.json", $node->safe_psql('staging', 'SELECT deploydb.staging_evidence()') . "\n");

	my (undef, @texts) = blocks($path);
	foreach my $text (@texts)
	{
		# what is done beside the statements
		if ($text =~ /deploydb_verify_migration/)
		{
			$migrate->('vocabulary');
			$node->safe_psql('vocabulary', 'GRANT SELECT, INSERT, UPDATE ON decision_insights TO app');
		}
		$text =~ s{https://hooks\.slack\.com/services/\S+?'}{https://127.0.0.1:1/'};
		my ($first) = $text =~ /^(.*)$/m;
		my ($said, $complained) = ('', '');
		my $directory = getcwd();
		chdir $here or die "cannot go to $here: $!";
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		my $ok = IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', 'vocabulary' ],
			'<', \$text, '>', \$said, '2>', \$complained);
		chdir $directory;
		ok($ok && $complained !~ /ERROR/, "$name: $first") or diag("$said\n$complained");
		like($said, qr/^t$/m, 'the migration is verified') if $text =~ /deploydb_verify_migration/;
		unlike($said, qr/\|failed\|/, 'no step of the smoke test fails') if $text =~ /smoke_test/;
	}
	is($node->safe_psql('vocabulary', q{SELECT string_agg(concat_ws(' ', status, count), ', ' ORDER BY status)
		FROM (SELECT status, count(*) FROM deploydb.backup GROUP BY 1) b}), 'restore_tested 1', 'the backup is recorded, and was restored');
	is($node->safe_psql('vocabulary', q{SELECT state FROM deploydb.checklist() WHERE item = 'db.staging'}), 'met', 'staging counts');
	is($node->safe_psql('vocabulary', q{SELECT to_regclass('public.decision_insights') IS NULL, count(*) FROM deploydb.rollback}),
		't|1', 'rolled back at last');
	is($node->safe_psql('vocabulary', 'SELECT intact FROM deploydb.verify_log()'), 't', 'and the log is good');
	$node->stop;
}
done_testing();

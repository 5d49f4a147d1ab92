# Encodings: the extension can be created in any, comments that an encoding
# cannot hold are not expected there, and every client gets an answer.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('encodings');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;

# Facts: MD5 of each comment's bytes in UTF-8, and how many the encoding holds.
my %comments = (UTF8 => 4, SQL_ASCII => 4, EUC_CN => 4, LATIN1 => 0);
my $md5 = 'a8b20a4f051acec7b4d11f13ba3e2311 b5898b6562d4c2b622daea331acbed1e '
  . '7b6bb59b8bd3c66113305492202b4ba7 7fdb216a15f18e1730831b6c2414d533';
my %fingerprint;

for my $encoding (sort keys %comments)
{
	$node->safe_psql('postgres',
		"CREATE DATABASE \L$encoding\E TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql(lc $encoding, q{
		CREATE EXTENSION deploydb;
		SELECT ddl FROM deploydb.builtin_migrations() \gexec
	});
	is($node->safe_psql(lc $encoding, 'SELECT deploydb_verify_migration()'), 't',
		"$encoding: a clean migration verifies");
	is($node->safe_psql(lc $encoding, q{
			SELECT count(*) FROM deploydb.expected_fact WHERE property = 'comment'}),
		$comments{$encoding}, "$encoding: comments that it holds are expected");
	is($node->safe_psql(lc $encoding, q{SET deploydb.language = zh; SELECT deploydb.runbook_link('docs/operations.md#x')}),
		$comments{$encoding} ? 'docs/operations.zh-CN.md#x' : 'docs/operations.md#x', "$encoding: and the page in a language that it holds");
	$fingerprint{$encoding} = $node->safe_psql(lc $encoding,
		q{SELECT deploydb.migration_fingerprint('insights')});
}
is($node->safe_psql('utf8', q{
		SELECT string_agg(md5(convert_to(description, 'UTF8')), ' ' ORDER BY md5(convert_to(description, 'UTF8')))
		FROM pg_description WHERE objoid = 'decision_insights'::regclass}),
	join(' ', sort split ' ', $md5), 'the comments are the application\'s, byte for byte');
is($fingerprint{EUC_CN}, $fingerprint{UTF8}, 'the fingerprint is the same in EUC_CN');
is($fingerprint{SQL_ASCII}, $fingerprint{UTF8}, 'and in SQL_ASCII');

# A client whose encoding cannot hold the comments
$node->safe_psql('utf8', q{
	COMMENT ON TABLE decision_insights IS NULL;
	ALTER TABLE decision_insights ADD COLUMN "列" text NOT NULL;
	CREATE INDEX "索引" ON decision_insights ("列") WHERE "列" <> '无'});
$ENV{PGCLIENTENCODING} = 'LATIN1';
for my $call ('deploydb_verify_migration()', 'deploydb.migration_report()',
	'deploydb.migration_tap()', "deploydb.facts('{decision_insights}')", 'deploydb_status()',
	"deploydb.migration_report('insights', NULL, true)", 'deploydb.ledger()',
	'deploydb.check_environment()', 'deploydb.smoke_test()', 'deploydb.expected_fact')
{
	my ($status, $out, $err) = $node->psql('utf8', "SELECT * FROM $call");
	is($status, 0, "LATIN1 client: $call") or diag($err);
}
my ($status, $out, $err) = $node->psql('utf8', 'SELECT deploydb.assert_migration()');
like($err, qr/migration is not as expected/, 'LATIN1 client: deploydb.assert_migration()');
like($err, qr/decision_insights\."\\u5217" is unexpected/, 'with what it cannot hold escaped');
$ENV{PGCLIENTENCODING} = 'UTF8';
like($node->safe_psql('utf8', q{SELECT expected FROM deploydb.migration_report() WHERE property = 'comment'}),
	qr/^AMAS\xe5\x86\xb3\xe7\xad\x96/, 'a UTF8 client reads the comment as it is');

# Names are the same in any locale, so that a restore brings them along
my $call = q{SELECT deploydb.add_webhook('值班', 'slack', 'https://example.org/')};
for my $database ('utf8', 'sql_ascii', 'euc_cn')
{
	my ($status, undef, $err) = $node->psql($database, $call);
	is($status, 0, "$database, locale C: a Chinese name") or diag($err);
}
for my $name ('', ' ', ' x', 'x ', "x\ty", "x\x7fy", 'x' x 101)
{
	isnt($node->psql('utf8', "SELECT deploydb.add_webhook(E'$name', 'slack', 'https://example.org/')"), 0, "'$name' is none");
}
$node->safe_psql('postgres', q{CREATE DATABASE other_locale TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8';
	CREATE DATABASE restored TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('other_locale', "CREATE EXTENSION deploydb; $call; SELECT deploydb.add_webhook('night shift', 'slack', 'https://example.org/')");
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'other_locale' ], 'dumped where the locale is another');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, 'restored' ], 'and restored');
is($node->safe_psql('restored', 'SELECT count(*) FROM deploydb.webhook'), '2', 'with its webhooks');

$node->stop;
done_testing();

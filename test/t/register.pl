# scripts/deploydb-register: a folder of migrations is registered in order, byte
# for byte, and what is left out is told.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Basename qw(dirname);
use File::Path qw(make_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('register');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE app TEMPLATE template0 ENCODING UTF8');
$node->safe_psql('app', 'CREATE EXTENSION deploydb');

my $dir = PostgreSQL::Test::Utils::tempdir . "/it's \"migrations\"";
my @command = ('scripts/deploydb-register', $dir, '--', '-d', $node->connstr('app'));

sub migration
{
	my ($name, %files) = @_;
	make_path("$dir/$name");
	for my $file (keys %files)
	{
		open my $fh, '>:raw', "$dir/$name/$file" or die "$name/$file: $!";
		print $fh $files{$file};
		close $fh;
	}
	return;
}

# What the database has of a migration, as bytes in hexadecimal.
sub registered
{
	my ($name, $column) = @_;
	return $node->safe_psql('app', qq{
		SELECT encode(convert_to($column, 'UTF8'), 'hex')
		FROM deploydb.registered_migration WHERE migration = '$name'});
}

command_checks_all([@command], 2, [qr/^$/], [qr/is no folder/], 'a folder that is not there');
make_path($dir);
command_checks_all([@command], 0, [qr/^0 registered, 0 failed, 0 skipped$/], [qr/^$/], 'an empty folder');

# The second needs the first, and sorts after it bytewise only.
my %ddl = (
	'20240101_Z' => "CREATE TABLE first (id text PRIMARY KEY);\n",
	'20240101_a' => "ALTER TABLE first ADD \"it's\" text DEFAULT 'a\\b';\r\n-- \xe5\x86\xb3\xe7\xad\x96\r\n",
	'20240102_no_newline' => 'CREATE TABLE second (id text)',
	'20240103_newlines' => "CREATE TABLE third (id text);\n\n\n",
	'20240104_large' => "CREATE TABLE fourth (id text);\n" . ("-- padding\n" x 100_000),
);
migration($_, 'migration.sql' => $ddl{$_}) for keys %ddl;
migration('20240101_Z', 'rollback.sql' => "DROP TABLE first;\n");
migration('20240102_no_newline', 'down.sql' => 'DROP TABLE second');
migration('20240105_empty', 'migration.sql' => '');
migration('20240106_no_file', 'README' => 'nothing');
migration('.', 'migration_lock.toml' => "provider = \"postgresql\"\n");

command_checks_all(
	[@command], 0,
	[   qr/^registered  20240101_Z: \d+ facts\nregistered  20240101_a: \d+ facts$/m,
		qr/^registered  20240104_large: \d+ facts$/m,
		qr/^skipped     20240105_empty: migration\.sql is empty$/m,
		qr/^skipped     20240106_no_file: no migration\.sql$/m,
		qr/^skipped     migration_lock\.toml: not the folder of a migration$/m,
		qr/^5 registered, 0 failed, 3 skipped\n\z/m ],
	[qr/^$/],
	'a folder of good migrations');
for my $name (sort keys %ddl)
{
	is(registered($name, 'ddl'), unpack('H*', $ddl{$name}), "$name: byte for byte");
	is($node->safe_psql('app', "SELECT checksum FROM deploydb.registered_migration WHERE migration = '$name'"),
		sha256_hex($ddl{$name}), "$name: checksum");
}
is(registered('20240101_Z', 'rollback_ddl'), unpack('H*', "DROP TABLE first;\n"), 'rollback.sql');
is(registered('20240102_no_newline', 'rollback_ddl'), unpack('H*', 'DROP TABLE second'), 'down.sql');
is(registered('20240101_a', "COALESCE(rollback_ddl, 'none')"), unpack('H*', 'none'), 'neither');

migration('20240107_latin1', 'migration.sql' => "CREATE TABLE fifth (id text); -- \xe9\n");
migration('20240108_refused', 'migration.sql' => "CREATE ROLE nobody;\n");
migration('20240109_broken', 'migration.sql' => "CREATE TABLE (;\n");
migration("20240110_it's; DROP", 'migration.sql' => "CREATE TABLE sixth (id text);\n");
command_checks_all(
	[@command], 1,
	[   qr/^failed      20240107_latin1: invalid byte sequence for encoding "UTF8": 0xe9/m,
		qr/^failed      20240108_refused: /m,
		qr/^failed      20240109_broken: .*syntax error/m,
		qr/^registered  20240110_it's; DROP: \d+ facts$/m,
		qr/^6 registered, 3 failed, 3 skipped\n\z/m ],
	[qr/^$/],
	'one that fails is told, and the others go on');
is($node->safe_psql('app', q{SELECT count(*) FROM deploydb.registered_migration WHERE migration ~ '^2024010[789]'}),
	'0', 'what failed is not registered');
is($node->safe_psql('app', q{SELECT count(*) FROM pg_class WHERE relname IN ('first', 'second', 'sixth')}),
	'0', 'nothing was created');

command_checks_all([ @command[ 0 .. 2 ], '-d', $node->connstr('no_such') ],
	2, [qr/^$/], [qr/database "no_such" does not exist.*psql ended with 2/s], 'no connection');
command_checks_all([ $command[0] ], 2, [qr/^$/], [qr/deploydb-register DIR/], 'no folder given');
command_checks_all([ $command[0], dirname($dir), @command[ 2 .. 4 ] ], 2, [qr/^0 registered, 0 failed, \d+ skipped$/m], [qr/is a migration; name the folder/],
	'the folder above, which CI must not take for success');
command_checks_all([ $command[0], $dir, '-d', 'app' ], 2, [qr/^$/], [qr/come after --/], 'options without --');

$node->stop;
done_testing();

# Parts in pure C: small programs, built with the server's headers and libraries,
# and with the address sanitizer where the compiler has it.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

my $config = $ENV{PG_CONFIG} || 'pg_config';
my $directory = PostgreSQL::Test::Utils::tempdir();

sub config { chomp(my $value = qx($config --$_[0])); return $value }

my %folder = (histogram => 'writes', statement_scan => 'writes', failure_kinds => 'writes',
	 address_policy => 'http', evaluation => 'alerts');

foreach my $unit (sort keys %folder)
{
	my @command = ('gcc', '-g', '-O1', '-Isrc', '-isystem', config('includedir-server'),
		"test/unit/$unit.c", "src/$folder{$unit}/$unit.c", '-o', "$directory/$unit",
		'-L' . config('pkglibdir'), '-L' . config('libdir'), '-lpgcommon', '-lpgport', '-lm', '-pthread');
	my $built = system("@command -fsanitize=address,undefined 2>$directory/log") == 0
	  || system("@command 2>$directory/log") == 0;
	ok($built, "$unit can be built") or diag(slurp_file("$directory/log"));
	next unless $built;
	my $said = qx(ASAN_OPTIONS=detect_leaks=0 $directory/$unit 2>&1);
	is($?, 0, "$unit comes to its end");
	is($said, '', "$unit finds nothing wrong");
}
done_testing();

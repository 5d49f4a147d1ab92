# write_cost.pl
#		CPU time that a backend takes for a fixed number of transactions, without
#		deploydb, with it, and with pg_stat_statements, and the throughput of one
#		client meanwhile.
#
# The servers take turns.  Where a server's memory and files happen to lie makes
# some percent of difference, so that all of them start again after some rounds,
# and two servers are without anything: there are pairs with both, and the ratio
# of the one to the other tells how much is luck.  There is another ratio, of the
# hooks: that to the same backend with its hooks taken off (what is called at the
# end of each transaction stays).  A ratio is the median over the starts of the
# medians over the pairs of each.
#
# Backend and client share a processor: where one wakes the other up on another,
# that takes most of the time, and never the same.
use strict;
use warnings;

use DBI;
use File::Basename;
use File::Temp;
use List::Util qw(shuffle);
use Time::HiRes;

my $starts = $ENV{DEPLOYDB_BENCH_STARTS} || 91;
my $rounds = $ENV{DEPLOYDB_BENCH_ROUNDS} || 60;
my $transactions = $ENV{DEPLOYDB_BENCH_TRANSACTIONS} || 30;
my %libraries = (
	without => '',
	again => '',
	deploydb => 'deploydb',
	pg_stat_statements => 'pg_stat_statements',
);
my @names = sort keys %libraries;
my @preloading = grep { $libraries{$_} } @names;
my %workload = (
	'untracked SELECT' => 'SELECT v FROM other WHERE id = 1 + $1 % 1000',
	'untracked INSERT' => 'INSERT INTO other (id, v) VALUES (1000000 + $1, 1)',
	'tracked INSERT' => q{INSERT INTO decision_insights (id, decision_id, user_id, state_snapshot, difficulty_factors,
		feature_vector_hash, updated_at)
		VALUES ($1, $1, 'u', '{"attention": 0.5, "fatigue": 0.1}', '{"length": 1, "accuracy": 1}', '0123456789abcdef', now())},
);
my $directory = File::Temp->newdir;
my %server;

sub run { system("{ @_; } >$directory/log 2>&1") == 0 or die "@_:\n" . qx(cat $directory/log) }

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return @sorted % 2 ? $sorted[$#sorted / 2] : ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

sub make_server
{
	my ($name, $number) = @_;
	my $data = "$directory/$name";
	run("initdb -D $data -U postgres -A trust --no-sync");
	open my $conf, '>>', "$data/postgresql.conf" or die $!;
	print $conf "unix_socket_directories = '$directory'\nlisten_addresses = ''\nport = " . (65000 + $number)
	  . "\nfsync = off\nautovacuum = off\nshared_preload_libraries = '$libraries{$name}'\njit = off\n";
	close $conf;
	$server{$name} = { data => $data, port => 65000 + $number, next => 0 };
	start_server($server{$name});
	my $dbh = $server{$name}{dbh};
	$dbh->do('SET client_min_messages = error; CREATE EXTENSION deploydb');
	$dbh->do($_->[0]) for @{ $dbh->selectall_arrayref('SELECT ddl FROM deploydb.builtin_migrations()') };
	$dbh->do('CREATE TABLE other (id bigint PRIMARY KEY, v int); INSERT INTO other SELECT n, n FROM generate_series(1, 2000) n');
	$dbh->do('VACUUM ANALYZE other');
	$dbh->do("CREATE FUNCTION switch_hooks(boolean) RETURNS boolean LANGUAGE c STRICT AS '$directory/hooks'");
	stop_server($server{$name});
}

sub start_server
{
	my $server = shift;
	run("pg_ctl -D $server->{data} -l $server->{data}/log -w start");
	my $dbh = DBI->connect("dbi:Pg:dbname=postgres;host=$directory;port=$server->{port}", 'postgres', '',
		{ RaiseError => 1, AutoCommit => 1, PrintError => 0, PrintWarn => 0 });
	$server->{dbh} = $dbh;
	run("taskset -pc 1 $dbh->{pg_pid}; taskset -pc 1 $$") if -e '/usr/bin/taskset' && -d '/sys/devices/system/cpu/cpu1';
}

sub stop_server
{
	my $server = shift;
	delete $server->{statement};
	$server->{dbh}->disconnect if $server->{dbh};
	delete $server->{dbh};
	run("pg_ctl -D $server->{data} -m fast stop");
}

# Nanoseconds on the processor
sub cpu_time
{
	my $pid = shift->{pg_pid};
	open my $file, '<', "/proc/$pid/schedstat" or die $!;
	return (split ' ', <$file>)[0];
}

# Microseconds of CPU time for a transaction, and transactions a second
sub measure
{
	my ($server, $sql) = @_;
	my $statement = $server->{statement}{$sql} //=
	  $server->{dbh}->prepare($sql, { pg_server_prepare => 1, pg_placeholder_dollaronly => 1 });
	$statement->execute(++$server->{next}) for 1 .. 20;
	my ($start, $began) = (cpu_time($server->{dbh}), Time::HiRes::time());
	$statement->execute(++$server->{next}) for 1 .. $transactions;
	return ((cpu_time($server->{dbh}) - $start) / $transactions / 1000, $transactions / (Time::HiRes::time() - $began));
}

# {cpu}, {tps}, {ratio}, {hooks} and {luck} of a workload: those of each server.
# Each has two turns in a round, with and without its hooks, also where it has
# none: what was used lately is in the processor's caches.
sub measure_rounds
{
	my $sql = shift;
	my %rounds;
	foreach my $round (1 .. $rounds)
	{
		my (%on, %off);
		foreach my $turn (shuffle(map { [ $_, \%on, 1 ], [ $_, \%off, 0 ] } @names))
		{
			my ($name, $took, $hooks) = @$turn;
			$server{$name}{dbh}->do('SELECT switch_hooks($1)', undef, $hooks);
			($took->{$name}, my $tps) = measure($server{$name}, $sql);
			push @{ $rounds{tps}{$name} }, $tps if $hooks;
		}
		push @{ $rounds{cpu}{$_} }, $on{$_} foreach @names;
		push @{ $rounds{hooks}{$_} }, $on{$_} / $off{$_} foreach @preloading;
		foreach my $without (map { $_->{without}, $_->{again} } \%on, \%off)
		{
			push @{ $rounds{ratio}{$_} }, $on{$_} / $without foreach @preloading;
		}
		push @{ $rounds{luck}{without} }, map { $_->{again} / $_->{without} } \%on, \%off;
	}
	return \%rounds;
}

my (%seen, $ok);
$ok = eval {
	run("gcc -O2 -shared -fPIC -isystem \$(pg_config --includedir-server) @{[ dirname($0) ]}/hooks.c -o $directory/hooks.so");
	make_server($names[$_], $_) for 0 .. $#names;
	foreach my $start (1 .. $starts)
	{
		start_server($server{$_}) for shuffle(@names);
		foreach my $workload (shuffle(keys %workload))
		{
			my $rounds = measure_rounds($workload{$workload});
			foreach my $figure (keys %$rounds)
			{
				my $of = $rounds->{$figure};
				push @{ $seen{$workload}{$figure}{$_} }, median(@{ $of->{$_} }) foreach keys %$of;
			}
		}
		stop_server($server{$_}) for @names;
	}
	1;
};
my $error = $@;
foreach my $server (values %server)
{
	stop_server($server) if $server->{dbh};
}
die $error unless $ok;
foreach my $workload (sort keys %workload)
{
	my %median;
	foreach my $figure (keys %{ $seen{$workload} })
	{
		my $of = $seen{$workload}{$figure};
		$median{$figure}{$_} = median(@{ $of->{$_} }) foreach keys %$of;
	}
	printf "%s, CPU|%.3f|us|without|%.3f\n", $workload, @{ $median{cpu} }{qw(deploydb without)};
	printf "%s, CPU ratio|%.4f|x|pg_stat_statements|%.4f\n", $workload, @{ $median{ratio} }{qw(deploydb pg_stat_statements)};
	printf "%s, CPU ratio|%.4f|x|none, of two servers|%.4f\n", $workload, $median{ratio}{deploydb}, $median{luck}{without};
	printf "%s, CPU of hooks|%.4f|x|pg_stat_statements|%.4f\n", $workload, @{ $median{hooks} }{qw(deploydb pg_stat_statements)};
	printf "%s, throughput|%.0f|tps|without|%.0f\n", $workload, @{ $median{tps} }{qw(deploydb without)};
}

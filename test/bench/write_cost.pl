# write_cost.pl
#		CPU time that a backend takes for a fixed number of transactions, without
#		deploydb, with it, and with pg_stat_statements, and the throughput of one
#		client meanwhile; the servers take turns, and a ratio is the median over
#		the rounds of those within a round.
use strict;
use warnings;

use DBI;
use File::Temp;
use List::Util qw(shuffle);
use Time::HiRes;

my $rounds = $ENV{DEPLOYDB_BENCH_ROUNDS} || 1001;
my $transactions = $ENV{DEPLOYDB_BENCH_TRANSACTIONS} || 100;
my @libraries = ('', 'deploydb', 'pg_stat_statements');
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

sub start_server
{
	my ($libraries, $number) = @_;
	my $data = "$directory/$number";
	run("initdb -D $data -U postgres -A trust --no-sync");
	open my $conf, '>>', "$data/postgresql.conf" or die $!;
	print $conf "unix_socket_directories = '$directory'\nlisten_addresses = ''\nport = " . (65000 + $number)
	  . "\nfsync = off\nautovacuum = off\nshared_preload_libraries = '$libraries'\njit = off\n";
	close $conf;
	run("pg_ctl -D $data -l $data/log -w start");
	$server{$libraries} = { data => $data };
	my $dbh = DBI->connect("dbi:Pg:dbname=postgres;host=$directory;port=" . (65000 + $number), 'postgres', '',
		{ RaiseError => 1, AutoCommit => 1, PrintError => 0, PrintWarn => 0 });
	$dbh->do('SET client_min_messages = error; CREATE EXTENSION deploydb');
	$dbh->do($_->[0]) for @{ $dbh->selectall_arrayref('SELECT ddl FROM deploydb.builtin_migrations()') };
	$dbh->do('CREATE TABLE other (id bigint PRIMARY KEY, v int); INSERT INTO other SELECT n, n FROM generate_series(1, 2000) n');
	$dbh->do('VACUUM ANALYZE other');
	$server{$libraries}{dbh} = $dbh;
	# Backends on one processor, this client on another
	run("taskset -pc 1 $dbh->{pg_pid}; taskset -pc 0 $$") if -e '/usr/bin/taskset' && -d '/sys/devices/system/cpu/cpu1';
	$server{$libraries}{next} = 0;
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

my $ok = eval {
	start_server($libraries[$_], $_) for 0 .. $#libraries;
	foreach my $name (sort keys %workload)
	{
		my (%cpu, %tps, %ratio);
		foreach my $round (1 .. $rounds)
		{
			my %took;
			foreach my $libraries (shuffle(@libraries))
			{
				($took{$libraries}, my $tps) = measure($server{$libraries}, $workload{$name});
				push @{ $cpu{$libraries} }, $took{$libraries};
				push @{ $tps{$libraries} }, $tps;
			}
			push @{ $ratio{$_} }, $took{$_} / $took{''} foreach @libraries;
		}
		printf "%s, CPU|%.3f|us|without|%.3f\n", $name, map { median(@{ $cpu{$_} }) } 'deploydb', '';
		printf "%s, CPU ratio|%.4f|x|pg_stat_statements|%.4f\n", $name, map { median(@{ $ratio{$_} }) } qw(deploydb pg_stat_statements);
		printf "%s, throughput|%.0f|tps|without|%.0f\n", $name, map { median(@{ $tps{$_} }) } 'deploydb', '';
	}
	1;
};
my $error = $@;
foreach my $server (values %server)
{
	delete $server->{statement};
	$server->{dbh}->disconnect if $server->{dbh};
	run("pg_ctl -D $server->{data} -m immediate stop");
}
die $error unless $ok;

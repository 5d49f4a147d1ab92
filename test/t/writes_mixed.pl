# Every way in which a write can end, all mixed by 8 clients at once: the sum
# of their accounts and the server's counters must be equal.  DEPLOYDB_OPERATIONS
# says how many operations each client makes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use Account;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Storable;
use Test::More;
use Writes;

my $clients = 8;
my $operations = $ENV{DEPLOYDB_OPERATIONS} || 60;
my @ways = sort keys %Writes::ways;
my $directory = PostgreSQL::Test::Utils::tempdir();

my $node = PostgreSQL::Test::Cluster->new('writes_mixed');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
max_prepared_transactions = 30
max_connections = 60
log_min_messages = error
fsync = off
});
$node->start;
$node->safe_psql('postgres', Writes::setup_sql());

sub run_client
{
	my $number = shift;
	my $client = Writes::connect_client($node, $number);
	my @once = @ways;
	srand $number;
	for (1 .. $operations)
	{
		# Each at least once, by other clients in another order.
		my $way = @once ? splice(@once, rand @once, 1) : $ways[rand @ways];
		next if $way eq 'unreleased_savepoints' && $number > 2;
		$Writes::ways{$way}->($client);
	}
	$client->{dbh}->disconnect;
	store $client->{account}, "$directory/$number";
}

my @pids;
foreach my $number (1 .. $clients)
{
	my $pid = fork // die "cannot fork: $!";
	if ($pid == 0)
	{
		my $ok = eval { run_client($number); 1 };
		print STDERR "client $number: $@" unless $ok;
		require POSIX;
		POSIX::_exit($ok ? 0 : 1);
	}
	push @pids, $pid;
}
foreach my $pid (@pids)
{
	waitpid $pid, 0;
	is($?, 0, 'a client comes to its end');
}

my %account;
merge(\%account, retrieve($_)) foreach glob "$directory/*";
my $watcher = Writes::connect_client($node, 0);
my $counted = difference(counters($watcher->{dbh}), {});
is_deeply($counted, \%account, "$clients clients, $operations operations each");
note(explain $counted);
is($watcher->{dbh}->selectrow_array(q{SELECT sum(attempts) FROM deploydb.write_failure_counters()}),
	eval { my $n = 0; $n += ($_->{failed} // 0) + ($_->{rejected} // 0) foreach values %account; $n },
	'each failure has its SQLSTATE');

# While thousands fail at once, what is sampled adds up: the failures of each
# SQLSTATE, and those that were counted
my $each = int(20_000 / $Writes::slowness);
my $before = counters($watcher->{dbh});
my @failing = map { IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-c',
		"DO \$\$ BEGIN FOR n IN 1 .. $each LOOP PERFORM try_w(-1); END LOOP; END \$\$" ]) } 1 .. 3;
my $samples = 0;
do
{
	Writes::good($watcher->{dbh}, 'SELECT deploydb.take_write_sample()');
	$samples++;
} while grep { $_->pumpable } @failing;
$_->finish or die 'psql failed' foreach @failing;
Writes::good($watcher->{dbh}, 'SELECT deploydb.take_write_sample()');
cmp_ok($watcher->{dbh}->selectrow_array(q{SELECT count(*) FROM deploydb.write_sample JOIN deploydb.write_target USING (target) WHERE name = 'w'}),
	'>', 2, "some of $samples samples had something new");
is($watcher->{dbh}->selectrow_array(q{SELECT count(*) FROM deploydb.write_sample
	WHERE failed + rejected <> COALESCE((SELECT sum(value::bigint) FROM jsonb_each_text(failures)), 0)}), 0, 'in each one failures add up');
is_deeply(difference(counters($watcher->{dbh}), $before), { w => { failed => 3 * $each } }, 'and none is missing');
is($watcher->{dbh}->selectrow_array(q{SELECT sum(attempts) FROM deploydb.write_failures()}),
	$watcher->{dbh}->selectrow_array(q{SELECT sum(failed + rejected) FROM deploydb.write_stats()}), 'nor told of otherwise');
$watcher->{dbh}->disconnect;
done_testing();

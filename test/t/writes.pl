# Every way in which a write can end, each alone: the client's own account and
# the server's counters must be equal.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Writes;

my $node = PostgreSQL::Test::Cluster->new('writes');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
max_prepared_transactions = 10
log_min_messages = warning
});
$node->start;
$node->safe_psql('postgres', Writes::setup_sql());

my $number = 0;
foreach my $way (sort keys %Writes::ways)
{
	my $client = Writes::connect_client($node, ++$number);
	my $watcher = Writes::connect_client($node, 0);
	my $before;

	$before = Writes::counters($watcher->{dbh});
	$Writes::ways{$way}->($client);
	is_deeply(Writes::difference(Writes::counters($watcher->{dbh}), $before), $client->{account}, $way);
	$client->{dbh}->disconnect;
	$watcher->{dbh}->disconnect;
}
done_testing();

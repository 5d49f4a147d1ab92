# Debian's exporters read view metric_value, configured as docs/operations.md
# says, as a role that is a member of pg_monitor and nothing else.
use strict;
use warnings;

use HTTP::Tiny;
use IPC::Run;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $node = PostgreSQL::Test::Cluster->new('scrape');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.databases = 'vocabulary'
deploydb.metrics_collection_interval = '1s'
});
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE vocabulary');

# What the manual says, in both languages

my %manual = map { $_ => slurp_file("docs/$_") } qw(operations.md operations.zh-CN.md);
my @blocks = $manual{'operations.md'} =~ /^```(?:yaml)?\n((?:jobs|deploydb_metric|CREATE ROLE|# pg_ident\.conf).*?)^```$/msg;
is(scalar @blocks, 4, 'the manual has a role, its way in, and two configurations');
foreach my $block (map { s/^#.*\n//mgr } @blocks)
{
	ok(index($manual{'operations.zh-CN.md'} =~ s/^#.*\n//mgr, $block) >= 0, 'the Chinese one, too');
}
my ($create_role, $way_in, $jobs, $queries) = @blocks;
my ($idents, $hba) = $way_in =~ /^(exporter .*)^(local .*)/ms or die "no lines for pg_hba.conf:\n$way_in";
my ($address) = $jobs =~ /'(postgres:.*)'/;
my $user = getpwuid $<;
$idents =~ s/^exporter postgres /exporter $user /m;

$node->safe_psql('vocabulary', "CREATE EXTENSION deploydb; $create_role");
$node->safe_psql('vocabulary', q{SELECT deploydb.push_metric('http.error_rate.5xx', 0.125)});
$node->append_conf('pg_ident.conf', $idents);
append_to_file($node->data_dir . '/pg_hba.new', $hba . "local all $user trust\n");
rename $node->data_dir . '/pg_hba.new', $node->data_dir . '/pg_hba.conf' or die $!;
$node->reload;
ok($node->poll_query_until('vocabulary', q{SELECT count(*) > 0 FROM deploydb.metric_value WHERE metric = 'db.xid_age'}),
	'there are values');

my $socket = $node->host;
my $port = $node->port;
s{\@/}{\@:$port/}, s{/run/postgresql}{$socket} for $address, $jobs;
$jobs =~ s/interval: 30s/interval: 1s/;

sub free_port
{
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1) or die "no port: $!";
	return $listener->sockport;
}

# scrape(PROGRAM, CONFIGURATION, ARGUMENTS, EXPECTED): ARGUMENTS of a file
# and an address; EXPECTED is what a line of ours begins with.
sub scrape
{
	my ($program, $configuration, $arguments, $expected) = @_;
	my ($file, $listen) = (PostgreSQL::Test::Utils::tempdir() . "/$program.yml", '127.0.0.1:' . free_port());
	append_to_file($file, $configuration);
	local $ENV{DATA_SOURCE_NAME} = $address;
	my ($text, $log) = ('', '');
	my $exporter = IPC::Run::start([ $program, $arguments->($file, $listen) ], '>&', \$log);
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$exporter->pump_nb;
		$text = HTTP::Tiny->new(timeout => 5)->get("http://$listen/metrics")->{content};
		last if $text =~ /$expected/ || !$exporter->pumpable;
		sleep 0.1;
	}
	$exporter->kill_kill;
	like($text, qr/^$expected\{[^}]*metric="http\.error_rate\.5xx",series=""[^}]*\} 0\.125$/m, "$program has a value that was pushed")
	  or diag($log);
	like($text, qr/^$expected\{[^}]*metric="db\.xid_age",series=""[^}]*\} [1-9]\d*$/m, 'and one that was measured');
	unlike($text, qr/^$expected\{[^}]*metric="insight\.write\.success_rate"/m, 'and none that there is not');

	SKIP:
	{
		skip 'promtool is not installed', 2 unless found('promtool');
		my $ours = join '', grep { /$expected/ } split /^/m, $text;
		ok(IPC::Run::run([ 'promtool', 'check', 'metrics' ], '<', \$ours, '>&', \my $findings), 'promtool can read it');
		is($findings, '', 'and finds nothing');
	}
	return;
}

sub found
{
	my $program = shift;
	return scalar grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

my @exporters = (
	[ 'prometheus-sql-exporter', $jobs, sub { return ('-config.file', $_[0], '-web.listen-address', $_[1]) }, 'sql_deploydb_metric' ],
	[ 'prometheus-postgres-exporter', $queries,
		sub { return ("--extend.query-path=$_[0]", "--web.listen-address=$_[1]") }, 'deploydb_metric_value' ]);
foreach my $exporter (@exporters)
{
	SKIP:
	{
		skip "$exporter->[0] is not installed", 5 unless found($exporter->[0]);
		scrape(@$exporter);
	}
}

$node->stop;
done_testing();

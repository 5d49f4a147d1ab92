# Databases that come and go within a second, as Prisma's shadow database does,
# with deploydb in the template and receivers that hang elsewhere.
use strict;
use warnings;

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('shadow');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;

my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "cannot listen: $!";
my $url = 'http://127.0.0.1:' . $silent->sockport;

sub sql { my ($database, $sql) = @_; return $node->safe_psql($database, $sql) }

sql('postgres', 'CREATE ROLE app LOGIN CREATEDB; CREATE DATABASE app OWNER app');
sql('app', 'CREATE EXTENSION deploydb');
sql('app', qq{SELECT deploydb.add_webhook('silent' || n, 'generic', '$url/' || n) FROM generate_series(1, 20) n;
	SELECT deploydb.notify('anybody?')});
my $hanging = q{SELECT count(*) = 20 FROM deploydb.notification WHERE state = 'sending'};
ok($node->poll_query_until('app', $hanging), 'twenty messages hang');

my $ddl = sql('app', 'SELECT ddl FROM deploydb.builtin_migrations()');

# As who migrates does: in a session of the one database another is made, used,
# and dropped.
sub come_and_go
{
	my ($times, $watched, $what) = @_;
	my @failed;
	foreach my $n (1 .. $times)
	{
		my @as_app = (extra_params => [ '-U', 'app', '-v', 'ON_ERROR_STOP=1' ]);
		my ($created, undef, $error) = $node->psql('app', "CREATE DATABASE shadow$n", @as_app);
		(my $used, undef, $error) = $node->psql("shadow$n", $ddl, @as_app) if $created == 0;
		$node->poll_query_until("shadow$n", 'SELECT pid IS NOT NULL FROM deploydb.worker_status') if $watched;
		(my $dropped, undef, my $more) = $node->psql('app', "DROP DATABASE shadow$n", @as_app);
		push @failed, "$error$more" if $created != 0 || $used != 0 || $dropped != 0;
	}
	is("@failed", '', "$what: come and gone");
	is(sql('postgres', q{SELECT count(*) FROM pg_database WHERE datname ~ '^shadow'}), '0', 'all of them');
	return;
}
come_and_go(3, 0, 'without the extension');
sql('template1', 'CREATE EXTENSION deploydb');
come_and_go(3, 0, 'with the extension from the template');
come_and_go(3, 1, 'with a monitor of its own');
is(sql('app', $hanging), 't', 'the messages still hang');
my $ticks = sql('app', 'SELECT ticks FROM deploydb.worker_status');
ok($node->poll_query_until('app', "SELECT ticks > $ticks + 1 FROM deploydb.worker_status"), 'and the monitor ticks');
is(sql('template1', q{SELECT count(*) FROM deploydb.installation}), '0', 'none was ever in the template');
sql('postgres', 'CREATE DATABASE kept');
ok($node->poll_query_until('kept', 'SELECT last_tick_at >= started_at FROM deploydb.worker_status'), 'a database that stays has one');
is(sql('kept', 'SELECT state, deploydb.suspended() IS NULL FROM deploydb.worker_status'), 'running|t', 'which is no copy of another\'s');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();

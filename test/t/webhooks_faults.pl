# Twenty endpoints that misbehave, each in its way, and what they must not
# delay: other endpoints, ticks, DROP DATABASE, CHECKPOINT, a fast stop.
use strict;
use warnings;

use lib 'test/lib';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Time::HiRes qw(time);

# What takes no longer than this has not waited for an endpoint.
my $bound = 10;

my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");
my @bad = map { Receiver->new("$directory/bad$_") } 1 .. 4;

# A resolver that never answers: getaddrinfo() for names that end so.
my $library = "$directory/resolver.so";
open(my $source, '>', "$directory/resolver.c") or die $!;
print $source <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	int			(*next) (const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		dlsym(RTLD_NEXT, "getaddrinfo");

	if (name && strstr(name, "never.example"))
		sleep(600);
	return next(name, service, hints, result);
}
C
close $source;
my $has_resolver = system("gcc -shared -fPIC -o $library $directory/resolver.c -ldl 2>$directory/gcc.log") == 0;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
{
	local $ENV{LD_PRELOAD} = $library if $has_resolver;
	$node->start;
}

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Runs it, and tells whether it took no longer than the bound.
sub within_bound
{
	my ($what, $work) = @_;
	my $start = time;
	$work->();
	my $spent = time - $start;
	cmp_ok($spent, '<', $bound, $what);
	note(sprintf '%s: %.2f s', $what, $spent);
	return;
}

sql('CREATE EXTENSION deploydb');
sql('CREATE DATABASE watched');
$node->safe_psql('watched', 'CREATE EXTENSION deploydb');
$node->poll_query_until('watched', 'SELECT ticks > 0 FROM deploydb.worker_status WHERE database = current_database()');

my @paths = qw(/hang /hang /hang /hang /drip /drip /drip /garbage /garbage /large /large /reset /reset
	/status/500 /status/503 /moved /seconds/60);
my @urls = map { $bad[$_ % @bad]->url($paths[$_]) } 0 .. $#paths;
push @urls, $has_resolver ? map { "https://$_.never.example/" } 1 .. 3 : ($bad[0]->url('/hang')) x 3;
my @faulty = ('postgres', 'watched');
foreach my $database (@faulty)
{
	$node->safe_psql($database, "SELECT deploydb.add_webhook('bad$_', 'generic', '$urls[$_]')") foreach 0 .. $#urls;
	$node->safe_psql($database, q{SELECT deploydb.add_webhook('good', 'generic', '} . $receiver->url("/ok/$database") . q{')});
	$node->safe_psql($database, q{SELECT count(deploydb.notify('to all', 'P1', name)) FROM deploydb.webhook, generate_series(1, 3)
		WHERE name <> 'good'});
}
my $hanging = q{SELECT count(DISTINCT webhook) >= 7 FROM deploydb.notification WHERE state = 'sending'};
ok($node->poll_query_until($_, $hanging), "the endpoints of $_ hang") foreach @faulty;

within_bound('a good endpoint is delivered to', sub {
	sql(q{SELECT deploydb.notify('good', 'P1', 'good')});
	$node->poll_query_until('postgres', q{SELECT state = 'delivered' FROM deploydb.notification WHERE webhook = 'good' ORDER BY id LIMIT 1})
	  or diag(sql(q{SELECT * FROM deploydb.notification WHERE webhook = 'good'}));
});
my $ticks = sql(q{SELECT ticks FROM deploydb.worker_status WHERE database = 'postgres'});
within_bound('ticks go on', sub {
	$node->poll_query_until('postgres', "SELECT ticks > $ticks + 2 FROM deploydb.worker_status WHERE database = 'postgres'");
});
within_bound('CHECKPOINT', sub { sql('CHECKPOINT') });
sql('CREATE DATABASE other');
within_bound('DROP DATABASE of one that nobody watches', sub { sql('DROP DATABASE other') });
is($node->safe_psql('watched', $hanging), 't', 'they still hang');
within_bound('DROP DATABASE of one whose webhooks hang', sub { sql('DROP DATABASE watched') });
is(sql($hanging), 't', 'those of the other one still do');
within_bound('a fast stop', sub { $node->stop('fast') });
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing has crashed');
done_testing();

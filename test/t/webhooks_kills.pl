# kill -9 of the monitor, the launcher and the postmaster, in turn, at random
# moments while events are made and delivered; and of a backend that has just
# committed, and immediate stops.  No event is without its messages, none is
# lost, and what arrives twice does so under one id.
#
# DEPLOYDB_KILLS is how often one of the three is killed, DEPLOYDB_SEED what the
# moments are chosen by.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../lib";

use DBI;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Receiver;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => 'it is not seen here who uses shared memory' unless -r '/proc/sysvipc/shm';

my $kills = $ENV{DEPLOYDB_KILLS} || 6;
my $seed = srand($ENV{DEPLOYDB_SEED} // int(rand(1e6)));
diag("DEPLOYDB_SEED=$seed");

my $patience = $PostgreSQL::Test::Utils::timeout_default;
my $directory = PostgreSQL::Test::Utils::tempdir();
my $receiver = Receiver->new("$directory/received");
my %path = (one => '/late/3/one', two => '/ok/two');

# fsync stays off: who is killed has written what was committed, and the
# operating system, which has it, goes on.
my $node = PostgreSQL::Test::Cluster->new('kills');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
restart_after_crash = on
log_statement = none
deploydb.metrics_collection_interval = '1s'
deploydb.webhook_timeout = '60s'
deploydb.webhook_max_per_minute = 0
deploydb.webhook_allow = '127.0.0.1'
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sql(q{
	CREATE TABLE decision_insights (
		id text NOT NULL, decision_id text NOT NULL, user_id text NOT NULL, state_snapshot jsonb NOT NULL,
		difficulty_factors jsonb NOT NULL, triggers text[] DEFAULT ARRAY[]::text[], feature_vector_hash text NOT NULL,
		created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, updated_at timestamp(3) NOT NULL,
		CONSTRAINT decision_insights_pkey PRIMARY KEY (id));
	CREATE UNIQUE INDEX decision_insights_decision_id_key ON decision_insights (decision_id);
	CREATE INDEX decision_insights_user_id_decision_id_idx ON decision_insights (user_id, decision_id);
	CREATE INDEX decision_insights_feature_vector_hash_idx ON decision_insights (feature_vector_hash);
	CREATE INDEX decision_insights_created_at_idx ON decision_insights (created_at);
	CREATE EXTENSION deploydb;
	SET client_min_messages = error;
	SELECT deploydb_verify_migration()});
sql("SELECT deploydb.add_webhook('$_', 'generic', '" . $receiver->url($path{$_}) . "')") foreach keys %path;
sql(q{SELECT deploydb.set_rule('flips', 'http.request.duration.p95', severity => 'P1', comparison => '>', threshold => 100,
	consecutive_periods => 1, cooldown_seconds => 0, resolve_periods => 1)});

# ---- those who make events ---------------------------------------------------

sub connect_to
{
	return DBI->connect('dbi:Pg:dbname=postgres;connect_timeout=10;host=' . $node->host . ';port=' . $node->port, '', '',
		{ PrintError => 0, RaiseError => 1, AutoCommit => 1 });
}

sub value { my ($dbh, $query) = @_; return ($dbh->selectrow_array($query))[0] }

# Each notes what it saw committed, and any error but that nobody is there.
my %clients;

sub client
{
	my ($name, $does) = @_;
	my $pid = fork() // die "cannot fork: $!";
	if ($pid)
	{
		$clients{$name} = $pid;
		return;
	}
	$SIG{__DIE__} = 'DEFAULT';
	srand($seed + keys %clients);
	my $stop = 0;
	local $SIG{TERM} = sub { $stop = 1 };
	open(my $notes, '>', "$directory/$name") or POSIX::_exit(1);
	$notes->autoflush(1);
	my $note = sub { print $notes join("\t", @_), "\n" };
	my $dbh;
	until ($stop)
	{
		unless (eval { $dbh //= connect_to(); $does->($dbh, $note); 1 })
		{
			my $error = $@ =~ s/\s+/ /gr;
			$note->('error', $error) if $dbh && $dbh->ping;
			undef $dbh;
		}
		sleep(rand(0.1));
	}
	POSIX::_exit(0);
	return;
}

END
{
	local $?;
	kill 'KILL', grep { $_ } values %clients;
}

sub notes
{
	my $kind = shift;
	return map { /^\Q$kind\E\t(.*)$/ ? $1 : () } map { split /\n/, slurp_file("$directory/$_") } keys %clients;
}

# Messages of people's own; what is rolled back is told to nobody.
foreach my $name (qw(notifier1 notifier2))
{
	my $n = 0;
	client($name, sub {
		my ($dbh, $note) = @_;
		my $text = "$name says " . ++$n;
		if ($n % 5 == 0)
		{
			$dbh->begin_work;
			$dbh->do("SELECT deploydb.notify('$text, never', 'P2')");
			$dbh->rollback;
			return;
		}
		$note->('tried', $text);
		$dbh->do("SELECT deploydb.notify('$text', 'P2')");
		$note->('message', $text);
	});
}

# A rule, whose alert begins and ends.
my $newest = q{SELECT COALESCE((SELECT status FROM deploydb.alert_event WHERE rule = '%s' ORDER BY id DESC LIMIT 1), 'resolved')};
my $newest_id = q{SELECT id FROM deploydb.alert_event WHERE rule = '%s' ORDER BY id DESC LIMIT 1};
client('evaluator', sub {
	my ($dbh, $note) = @_;
	my $rule = sprintf $newest, 'flips';
	my $fires = value($dbh, $rule) eq 'firing';
	$dbh->do('SELECT deploydb.push_metric($$http.request.duration.p95$$, ?)', undef, $fires ? 1 : 1000);
	$dbh->do('SELECT deploydb.evaluate_alerts()');
	my $status = value($dbh, $rule);
	$note->('error', "evaluated, it is $status") if $status ne ($fires ? 'resolved' : 'firing');
	$note->('event', value($dbh, sprintf $newest_id, 'flips'));
});

# The application loses an index, and gets it back once that was told.
my $index = 'decision_insights_created_at_idx';
my $drift = sprintf($newest, 'migration_drift');
my $index_there = "SELECT to_regclass('$index') IS NOT NULL";
{
	my $since = time;
	client('application', sub {
		my ($dbh, $note) = @_;
		my $there = value($dbh, $index_there);
		if (value($dbh, $drift) ne ($there ? 'resolved' : 'firing'))
		{
			return if time < $since + $patience;
			$note->('error', 'nobody was told of the index');
		}
		my $id = value($dbh, sprintf $newest_id, 'migration_drift');
		$note->('event', $id) if defined $id;
		my $command = $there ? 'DROP INDEX' : 'CREATE INDEX';
		$note->('began', $command);
		$dbh->do($there ? "$command $index" : "$command $index ON decision_insights (created_at)");
		$note->('change', $command);
		$since = time;
	});
}

# ---- the killing -------------------------------------------------------------

my %killed = map { $_ => 0 } qw(monitor launcher postmaster backend server);
my $said = 0;
my (@tried, @committed, $session);

# The first answer to a query, once there is one; the server may just be about
# to end, as somebody was killed.
sub first_answer
{
	my ($query, $what) = @_;
	my $end = time + $patience;
	while (time < $end)
	{
		my $answer = eval {
			$session //= connect_to();
			value($session, $query);
		};
		undef $session if $@;
		return $answer if $answer;
		sleep 0.01;
	}
	BAIL_OUT("$what does not come back");
	return;
}

sub pid_of
{
	my $type = shift;
	return first_answer("SELECT pid FROM pg_stat_activity WHERE backend_type = 'deploydb $type'", "the $type");
}

# Soon after what was before, mostly.
sub wait_a_moment { sleep(rand(rand() < 0.5 ? 0.2 : 1.5)); return }

# The postmaster's children end once they have seen that it is gone; until then
# their shared memory keeps another from starting.
sub start_again
{
	my ($pid, $shmid) = @_;
	my $end = time + $patience;
	until (time > $end)
	{
		my ($attached) = slurp_file('/proc/sysvipc/shm') =~ /^ *-?[0-9]+ +$shmid +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +([0-9]+) /m;
		last if !$attached && !kill(0, $pid);
		sleep 0.01;
	}
	$node->start;
	return;
}

sub kill_process
{
	my $type = shift;
	pid_of($type);
	wait_a_moment();
	kill 'KILL', pid_of($type);
	return;
}

sub kill_postmaster
{
	wait_a_moment();
	my ($pid, $shmid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^([0-9]+)\n(?:.*\n){5} *[0-9]+ +([0-9]+)$/m;
	$node->kill9;
	start_again($pid, $shmid);
	return;
}

# One that has just committed, or will have.
sub kill_backend
{
	wait_a_moment();
	my $text = 'last words ' . ++$said;
	my $pid = first_answer('SELECT pg_backend_pid()', 'the server');
	push @tried, $text;
	push @committed, $text if eval { $session->do("SELECT deploydb.notify('$text', 'P2')") };
	kill 'KILL', $pid;
	undef $session;
	return;
}

sub stop_server
{
	wait_a_moment();
	$node->stop('immediate');
	$node->start;
	return;
}

my %way = (
	monitor => sub { kill_process('monitor') },
	launcher => sub { kill_process('launcher') },
	postmaster => \&kill_postmaster,
	backend => \&kill_backend,
	server => \&stop_server);

sub crash
{
	my $victim = shift;
	eval { $way{$victim}->(); 1 } or BAIL_OUT("killing the $victim: $@");
	$killed{$victim}++;
	return;
}

my $begun = time;
foreach my $n (0 .. $kills - 1)
{
	crash((qw(monitor launcher postmaster))[ $n % 3 ]);
	crash((qw(backend server))[ $n / 3 % 2 ]) if $n % 3 == 2;
}
# A few moments may all have been ones at which nothing was under way.
foreach (1 .. 20)
{
	last if first_answer('SELECT count(*) + 1 FROM deploydb.outbox WHERE attempts > 1', 'the server') > 1;
	crash('monitor');
}
pid_of('monitor');
kill 'TERM', values %clients;
waitpid $_, 0 foreach values %clients;
$_ = 0 foreach values %clients;
diag(sprintf('in %.0f s: %s', time - $begun, join(', ', map { "$killed{$_} of the $_" } sort keys %killed)));

# ---- what became of it -------------------------------------------------------

sub none
{
	my ($what, @found) = @_;
	is(scalar @found, 0, $what) or diag(join("\n", splice @found, 0, 20));
	return;
}

ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM deploydb.notification WHERE state IN ('pending', 'sending'))
	AND (SELECT last_event FROM deploydb.outbox_position) = (SELECT max(id) FROM deploydb.alert_event)
	AND (SELECT state = 'running' FROM deploydb.worker_status)}), 'the monitor is back, and nothing waits')
  or diag(sql('SELECT * FROM deploydb.worker_status; TABLE deploydb.outbox_position; TABLE deploydb.webhook_health'));
none('nobody met an error but that the server was gone', notes('error'));
ok($node->poll_query_until('postgres', "SELECT ($drift) = CASE WHEN ($index_there) THEN 'resolved' ELSE 'firing' END"),
	'the alert is as the index is');

# As of a moment at which nothing waits again: ticks go on, and may find more
my $dbh = connect_to();
my (@messages, @events);
my $end = time + $patience;
while (1)
{
	$dbh->begin_work;
	$dbh->do('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
	@messages = @{ $dbh->selectall_arrayref(q{SELECT id, webhook, kind, state, attempts, event, told_by,
		message_id AS known_by, body FROM deploydb.outbox ORDER BY id}, { Slice => {} }) };
	@events = @{ $dbh->selectall_arrayref('SELECT id, rule, status FROM deploydb.alert_event WHERE NOT silenced ORDER BY id', { Slice => {} }) };
	my $queued = value($dbh, 'SELECT last_event = (SELECT max(id) FROM deploydb.alert_event) FROM deploydb.outbox_position');
	$dbh->commit;
	last if time > $end || $queued && !grep { $_->{state} =~ /^(pending|sending)$/ } @messages;
	sleep 0.1;
}
my @requests = $receiver->requests;
my %request;
push @{ $request{"$_->{path} $_->{id}"} }, $_ foreach @requests;

# What was queued
my (%by_id, %of_text, %of_event, %known);
foreach my $message (@messages)
{
	my $content = decode_json($message->{body});
	$by_id{ $message->{id} } = $message;
	$known{"$path{$message->{webhook}} $message->{known_by}"} = $message;
	push @{ $of_text{ $content->{message} }{ $message->{webhook} } }, $message if $message->{kind} eq 'notice';
	push @{ $of_event{ $message->{event} }{ $message->{webhook} } }, $message if defined $message->{event};
}

# each webhook has it, once
sub is_told
{
	my $told = shift // {};
	return !grep { @{ $told->{$_} // [] } != 1 } keys %path;
}
push @committed, notes('message');
my %tried = map { $_ => 1 } @tried, notes('tried');
none('each message that was committed is there, once', grep { !is_told($of_text{$_}) } @committed);
none('one whose commit nobody saw is, for all or for none', grep { $of_text{$_} && !is_told($of_text{$_}) } keys %tried);
none('there is no other', grep { !$tried{$_} } keys %of_text);
my %event = map { $_->{id} => $_ } @events;
none('each event that was seen is there', grep { !$event{$_} } notes('event'));
none('each event has its messages, once', grep { !is_told($of_event{$_}) } keys %event);
none('there is no message without its event', grep { !$event{$_} } keys %of_event);
my %before;
none('an alert begins and ends in turn', grep {
	my $last = $before{ $_->{rule} } // 'resolved';
	$before{ $_->{rule} } = $_->{status};
	$_->{rule} eq 'flips' && $_->{status} eq $last } @events);
foreach my $command ('DROP INDEX', 'CREATE INDEX')
{
	my $noted = value($dbh, "SELECT count(*) FROM deploydb.definition_change WHERE command = '$command'");
	my ($began, $done) = map { my $kind = $_; scalar grep { $_ eq $command } notes($kind) } qw(began change);
	ok($noted >= $done && $noted <= $began, "each $command is noted") or diag("$noted of $done to $began");
}

# What arrived
sub arrived
{
	my $message = shift;
	$message = $by_id{ $message->{told_by} } // return 0 while $message->{state} eq 'superseded';
	return $message->{state} eq 'delivered' && exists $request{"$path{$message->{webhook}} $message->{known_by}"};
}
sub shown { my $message = shift; return map { "$_->{id} to $_->{webhook}: $_->{state}, $_->{attempts} attempts" } $message }
none('each message arrived, or a newer one of its topic', map { shown($_) } grep { !arrived($_) } @messages);
none('none is dead', map { shown($_) } grep { $_->{state} !~ /^(delivered|superseded)$/ } @messages);
none('nothing arrived that was not committed', grep { !$known{$_} } keys %request);
none('nothing was sent more often than was committed before',
	map { "$_: @{ $request{$_} }" } grep { $known{$_} && @{ $request{$_} } > $known{$_}{attempts} } keys %request);
none('what arrived twice is the same, under one id', grep {
	my $key = $_;
	$known{$key} && grep { $_->{body} ne $known{$key}{body} } @{ $request{$key} } } keys %request);
my %ids;
$ids{ decode_json($_->{body})->{id} . " $_->{path}" }{ $_->{id} } = 1 foreach @requests;
none('and in its body', grep { keys %{ $ids{$_} } > 1 } keys %ids);

# How it went
is(value($dbh, 'SELECT last_error FROM deploydb.worker_status'), undef, 'the monitor met no error');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal (?!9:)/, 'nothing crashed but what was killed');
my $again = grep { $_->{state} eq 'delivered' && $_->{attempts} > 1 } @messages;
cmp_ok($again, '>', 0, 'some were under way when all ended');
diag(sprintf('%d messages (%d superseded) of %d events and %d texts; %d were begun again, %d arrived more than once, %d requests',
	scalar @messages, (scalar grep { $_->{state} eq 'superseded' } @messages), scalar @events, scalar keys %of_text, $again,
	(scalar grep { @$_ > 1 } values %request), scalar @requests));
diag(sprintf('monitors: %s, at most %d attempts', value($dbh, 'SELECT restarts + 1 FROM deploydb.worker_status'),
	value($dbh, 'SELECT max(attempts) FROM deploydb.outbox')));
$dbh->disconnect;

$node->stop('fast');
done_testing();

# Addresses and keys of webhooks by the extended protocol, by what a session has
# prepared, and by an application's own functions, views and triggers: in no line
# of the log and in nobody's sight; and no line is lost that has none.
use strict;
use warnings;

use DBI;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('secrets');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'deploydb'
deploydb.monitor = off
log_error_verbosity = verbose
log_parameter_max_length_on_error = -1
log_statement = none
wal_level = logical
max_wal_senders = 4
deadlock_timeout = 10ms
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION deploydb;
SELECT deploydb.add_webhook(n, 'slack', 'https://hooks.example.org/') FROM unnest('{first,second}'::text[]) n;
CREATE ROLE deploydb SUPERUSER LOGIN;
CREATE TABLE own (a text, b text);
CREATE TABLE own_deferred (a text, b text);
CREATE TABLE own_dynamic (a text);
CREATE VIEW own_view AS SELECT * FROM deploydb.webhook_secret;
CREATE FUNCTION own_update(u text) RETURNS void LANGUAGE plpgsql AS $$BEGIN UPDATE deploydb.webhook_secret SET url = u || 1 / 0; END$$;
CREATE FUNCTION own_insert() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO deploydb.webhook (name, format) VALUES (NEW.a, NEW.b); RETURN NEW; END$$;
CREATE FUNCTION own_execute() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE format('UPDATE deploydb.webhook_secret SET ur = %L', NEW.a); RETURN NEW; END$$;
CREATE FUNCTION own_prepare() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'PREPARE within AS SELECT deploydb.set_webhook_url(''first'', $1)'; END$$;
CREATE FUNCTION own_definer(u text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN EXECUTE format('UPDATE webhook_secret SET ur = %L', u); END$$;
ALTER FUNCTION own_definer(text) OWNER TO deploydb;
CREATE FUNCTION own_static(u text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$BEGIN INSERT INTO webhook_secret (webhook, url) VALUES ('nobody', u); END$$;
ALTER FUNCTION own_static(text) OWNER TO deploydb;
CREATE TRIGGER t AFTER INSERT ON own FOR EACH ROW EXECUTE FUNCTION own_insert();
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON own_deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION own_insert();
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON own_dynamic DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION own_execute();
});
my $secret = 's3cr3t';
my $url = "https://hooks.example.org/$secret";
my $shown = q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%s3cr_t%' AND query NOT LIKE '%s3cr\_t%'};

sub session
{
	my ($user) = @_;
	return DBI->connect('dbi:Pg:' . $node->connstr('postgres'), $user || '', '', { PrintError => 0, RaiseError => 0, AutoCommit => 1 });
}

# By Parse, Bind and Execute, which DBD::Pg does with what has a parameter; it is
# kept, as the session would show its DEALLOCATE
my @kept;
sub extended
{
	my ($session, $statement, @values) = @_;
	my $prepared = $session->prepare($statement, { pg_prepare_now => 1 }) or return;
	push @kept, $prepared;
	return $prepared->execute(@values);
}

# Runs what fails, or nearly tells, in a session of its own; returns what was
# logged meanwhile.
sub hidden
{
	my ($name, $run, $user) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $begun = -s $node->logfile;
	my $session = session($user);
	$run->($session);
	my $log = slurp_file($node->logfile, $begun);
	unlike($log, qr/\Q$secret\E/, "$name is not logged");
	is($node->safe_psql('postgres', $shown), 0, '... nor shown');
	@kept = ();
	$session->disconnect;
	return $log;
}

sub logged
{
	my ($name, $expected, $run) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $begun = -s $node->logfile;
	my $session = session();
	$run->($session);
	like(slurp_file($node->logfile, $begun), $expected, "$name is logged");
	@kept = ();
	$session->disconnect;
	return;
}

# What the protocol has prepared, and SQL executes
sub executed
{
	my ($prepared, @statements) = @_;
	return sub {
		my ($session) = @_;
		my $statement = $session->prepare($prepared, { pg_prepare_now => 1 });
		foreach (@statements)
		{
			my $sql = $_;
			$sql =~ s/EXECUTE p/EXECUTE $statement->{pg_prepare_name}/;
			$session->do($sql);
		}
		undef $statement;
	};
}

sub statements
{
	my @statements = @_;
	return sub { $_[0]->do($_) foreach @statements };
}

my $set = q{SELECT deploydb.set_webhook_secret('nobody', $1)};
hidden('EXECUTE with too many', executed($set, "EXECUTE p('$url', 1)"));
like(hidden('EXECUTE that fails', executed($set, "EXECUTE p('$secret')")), qr/ERROR: .*webhook/, '... but that it did');
hidden('EXECUTE within EXPLAIN', executed($set, "EXPLAIN EXECUTE p('$url', 1)"));
hidden('EXECUTE within CREATE TABLE AS', executed($set, "CREATE TABLE made AS EXECUTE p('$url', 1)"));
hidden('EXECUTE after others', executed($set, "SELECT 1; EXECUTE p('$url', 1)"));
hidden('EXECUTE in a transaction that failed', executed($set, 'BEGIN', 'SELECT 1 / 0', "EXECUTE p('$secret')", 'ROLLBACK'));
hidden('EXECUTE that cannot be parsed', executed($set, "EXECUTE p('$secret' 'x')"));
hidden('EXECUTE of an INSERT', executed('INSERT INTO deploydb.webhook_secret (webhook, url) VALUES ($1, $2)', "EXECUTE p('nobody', '$url')"));
hidden('EXECUTE by a quoted name', statements('PREPARE "A b" AS SELECT deploydb.set_webhook_url(\'first\', $1)', 'BEGIN', 'SELECT 1 / 0', "EXECUTE \"A b\"('$url')"));
hidden('EXECUTE of what the message prepared', statements("DO \$\$BEGIN PERFORM own_prepare(); END\$\$; EXECUTE within('$url', 1)"));
hidden('EXECUTE by another search_path', statements('SET search_path = deploydb', 'PREPARE p AS UPDATE webhook_secret SET url = $1', 'RESET search_path', "EXECUTE p('$url')"));

# An application's own, beside what tells
my $prepare = q{PREPARE p AS SELECT deploydb.set_webhook_url('first', $1)};
logged('a column in a string', qr/ERROR: .*column "innocent" does not exist.*\n(?:.*\n)*.*STATEMENT:  DO/, statements($prepare, q{DO $$BEGIN EXECUTE 'SELECT innocent FROM pg_class'; END$$}));
logged('a value', qr/invalid input syntax for type integer: "innocent".*\n(?:.*\n)*.*STATEMENT:  EXECUTE z/, statements($prepare, 'PREPARE z AS SELECT $1::integer', q{EXECUTE z('innocent')}));
logged('an EXECUTE in a transaction that failed', qr/STATEMENT:  EXECUTE z\('innocent'\)/, statements($prepare, 'PREPARE z AS SELECT $1', 'BEGIN', 'SELECT 1 / 0', q{EXECUTE z('innocent')}));
logged('what was deallocated', qr/STATEMENT:  EXECUTE p\('innocent'\)/, statements($prepare, 'DISCARD ALL', 'PREPARE p AS SELECT $1::integer', q{EXECUTE p('innocent')}));
logged('a duration by the protocol', qr/duration: .* execute .*: SELECT 'innocent'/,
	sub { $_[0]->do($prepare); $_[0]->do('SET log_min_duration_statement = 0'); extended($_[0], q{SELECT 'innocent', $1}, 1) });
logged('a duration after what tells', qr/duration: .* statement: SELECT 'innocent'/,
	statements('SET log_min_duration_statement = 0', 'BEGIN', "SELECT deploydb.set_webhook_url('first', '$url')", q{SELECT 'innocent'}, 'COMMIT'));
logged('statistics', qr/QUERY STATISTICS\n.*DETAIL:  ! system usage/, statements('SET log_statement_stats = on', q{SELECT deploydb.url_origin('https://example.org/')}));

# Without a text of the client's
hidden('what fails at Sync', sub { extended($_[0], 'INSERT INTO own_dynamic VALUES ($1)', $url) });
hidden('a row that fails at Sync', sub { extended($_[0], 'INSERT INTO own_deferred VALUES (\'x\', $1)', $url) });
$node->safe_psql('postgres', q{CREATE DATABASE subscriber; CREATE PUBLICATION p FOR TABLE own_dynamic;
SELECT pg_create_logical_replication_slot('s', 'pgoutput'); ALTER TABLE own_dynamic DISABLE TRIGGER ALL});
$node->safe_psql('subscriber', q{CREATE EXTENSION deploydb; CREATE TABLE own_dynamic (a text);
CREATE FUNCTION own_execute() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE format('UPDATE deploydb.webhook_secret SET ur = %L', NEW.a); RETURN NEW; END$$;
CREATE TRIGGER t BEFORE INSERT ON own_dynamic FOR EACH ROW EXECUTE FUNCTION own_execute(); ALTER TABLE own_dynamic ENABLE ALWAYS TRIGGER t;});
my $begun = -s $node->logfile;
$node->safe_psql('subscriber', q{CREATE SUBSCRIPTION s CONNECTION '} . $node->connstr('postgres') =~ s/'/''/gr . q{' PUBLICATION p WITH (create_slot = false, slot_name = s, copy_data = false)});
$node->safe_psql('postgres', "INSERT INTO own_dynamic VALUES ('$url')");
ok($node->poll_query_until('postgres', q{SELECT pg_read_file('} . $node->logfile . q{') ~ 'logical replication.*worker.*exited with'}), 'a subscription fails');
unlike(slurp_file($node->logfile, $begun), qr/\Q$secret\E/, '... and what it applied is not logged');
$node->safe_psql('subscriber', $_) foreach 'ALTER SUBSCRIPTION s DISABLE', 'ALTER SUBSCRIPTION s SET (slot_name = NONE)', 'DROP SUBSCRIPTION s';

# By other names
like(hidden('an UPDATE in a function of one\'s own', statements("SELECT own_update('$url')")), qr/division by zero/, '... but that it failed');
hidden('an INSERT into a view', statements("INSERT INTO own_view (webhook, url) VALUES ('nobody', '$url')"));
hidden('an INSERT by a trigger', statements("INSERT INTO own VALUES ('x', '$url')"));
hidden('the value of an INSERT by a trigger', sub { extended($_[0], 'INSERT INTO own VALUES (\'x\', $1)', $url) });
hidden('COPY by a trigger', sub { $_[0]->do('COPY own FROM stdin'); $_[0]->pg_putcopydata("x\t$url\n"); $_[0]->pg_putcopyend });
hidden('by the name of a function\'s owner', statements("SELECT own_definer('$url')", "SELECT own_static('$url')"));
hidden('a schema', statements("SELECT deploydb.set_webhook_secret('first', \"$secret\".f())"));

# What others see of what works
my $update = "UPDATE webhook_secret SET url = '$url' WHERE webhook = \$1";
hidden('by the extended protocol', sub { extended($_[0], "SELECT deploydb.set_webhook_url(\$1, '$url')", 'first') });
hidden('EXPLAIN by the extended protocol', sub { extended($_[0], "EXPLAIN SELECT deploydb.set_webhook_url(\$1, '$url')", 'first') });
hidden('by search_path and the extended protocol', sub { $_[0]->do('SET search_path = deploydb'); extended($_[0], $update, 'nobody') });
hidden('by role and the extended protocol', sub { extended($_[0], $update, 'nobody') }, 'deploydb');
hidden('what is named late', statements("WITH v(u) AS (VALUES ('$url')) UPDATE /*" . 'x' x 2000 . '*/ deploydb.webhook_secret SET url = v.u FROM v WHERE false'));
my $parallel = $node->pg_version < 16 ? 'force_parallel_mode' : 'debug_parallel_query';
hidden('what a parallel worker runs', sub {
	my ($one) = @_;
	$one->do("SET $parallel = on");
	$one->do("SELECT pg_sleep(600), 'deploydb', '$url'", { pg_async => 1 });
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND wait_event = 'PgSleep'}), 'it runs');
	is($node->safe_psql('postgres', $shown), 0, '... and nobody sees what');
	$one->pg_cancel;
});
like(hidden('the memory of a prepared statement', sub {
	my ($one) = @_;
	$one->do("PREPARE p AS SELECT deploydb.set_webhook_secret('nobody', '$secret')");
	my $begun = -s $node->logfile;
	$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts($one->{pg_pid})");
	$node->wait_for_log(qr/Grand total/, $begun);
}), qr/level: \d+; CachedPlanSource: \d+ total/, '... but its size is');
my $seen = hidden('a deadlock', sub {
	my ($one) = @_;
	my $other = session();
	my $change = "UPDATE webhook_secret SET url = '$url/' WHERE webhook = \$1";
	$one->do('SET deadlock_timeout = 60000; SET search_path = deploydb; BEGIN');
	extended($one, $change, 'first');
	$other->do('BEGIN');
	$other->do(q{SELECT FROM own_view WHERE webhook = 'second' FOR UPDATE});
	# what is prepared asynchronously is executed when somebody asks for it
	my $waits = $one->prepare($change, { pg_prepare_now => 1 });
	$waits->{pg_async} = 1;
	$waits->execute('second');
	ok($node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $one->{pg_pid}"), 'it waits');
	is($node->safe_psql('postgres', $shown), 0, '... and nobody sees what for');
	$other->do(q{SELECT FROM own_view WHERE webhook = 'first' FOR UPDATE});
	$other->disconnect;
	$one->pg_result;
});
like($seen, qr/deadlock detected/, '... but that there was one');

$node->stop;
done_testing();

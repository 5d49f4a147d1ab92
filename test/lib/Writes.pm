# Writes.pm
#		Clients that write tracked tables in every way, and keep an account.
#
# Each way is a function of %ways: it takes a client and does one thing that
# can become of writes.  What it expects to be counted goes into the client's
# account (Account.pm), table by table.
package Writes;

use strict;
use warnings;

use Account;
use DBI;
use Exporter 'import';
use File::Basename 'dirname';
use IPC::Run;
use PostgreSQL::Test::Utils 'slurp_file';
use Test::More;

our @EXPORT_OK = qw(%ways connect_client setup_sql);
# How many times longer everything takes, where the server is watched.
our $slowness = $ENV{DEPLOYDB_SLOWNESS} || 1;

# The tables, functions and roles that they write to and with.
sub setup_sql
{
	return slurp_file(dirname(__FILE__) . '/writes.sql');
}

sub connect_client
{
	my ($node, $number, $dbname) = @_;
	my $dsn = sprintf 'dbi:Pg:dbname=%s;host=%s;port=%s', $dbname || 'postgres', $node->host, $node->port;
	my $new = sub {
		my $dbh = DBI->connect($dsn, '', '',
			{ PrintError => 0, RaiseError => 0, AutoCommit => 1, pg_server_prepare => 0, PrintWarn => 0 })
		  or die "cannot connect: $DBI::errstr";
		return $dbh;
	};
	return { number => $number, next => 0, account => {}, connect => $new, dbh => $new->() };
}

# A number that no other client and no other call has.
sub fresh { my $c = shift; return $c->{number} * 10_000_000 + ++$c->{next} }

# Runs what must go well, or must not.
sub good
{
	my ($dbh, $sql) = @_;
	defined $dbh->do($sql) or die "$sql: " . $dbh->errstr;
}

sub bad
{
	my ($dbh, $sql, $state) = @_;
	die "did not fail: $sql" if defined $dbh->do($sql);
	die "$sql: " . $dbh->state . ' ' . $dbh->errstr if $state && $dbh->state ne $state;
}

# A statement by the extended protocol, prepared by the server.
sub extended
{
	my ($dbh, $sql, @values) = @_;
	my $sth = $dbh->prepare($sql, { pg_server_prepare => 1 }) or return;
	return $sth->execute(@values);
}

our %ways = (
	plain => sub {
		my $c = shift;
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		ok_rows($c, 'w', 1);
	},
	prepared => sub {
		my $c = shift;
		defined extended($c->{dbh}, 'INSERT INTO w VALUES ($1, $2), ($1 + 1, $2)', fresh($c), 2) or die $c->{dbh}->errstr;
		fresh($c);
		ok_rows($c, 'w', 2);
	},
	sql_execute => sub {
		my $c = shift;
		good($c->{dbh}, 'PREPARE ins (bigint) AS INSERT INTO w VALUES ($1, 3)');
		good($c->{dbh}, 'EXECUTE ins (' . fresh($c) . ')');
		good($c->{dbh}, 'DEALLOCATE ins');
		ok_rows($c, 'w', 1);
	},
	update => sub {
		my $c = shift;
		my $id = fresh($c);
		good($c->{dbh}, "INSERT INTO w VALUES ($id, 1)");
		good($c->{dbh}, "UPDATE w SET v = v + 1 WHERE id = $id");
		good($c->{dbh}, "UPDATE w SET v = v + 1 WHERE id IS NULL");
		good($c->{dbh}, "DELETE FROM w WHERE id = $id");
		ok_rows($c, 'w', 2, 3);
	},
	through_view => sub {
		my $c = shift;
		good($c->{dbh}, 'INSERT INTO w_view VALUES (' . fresh($c) . ', 1)');
		ok_rows($c, 'w', 1);
	},
	partitions => sub {
		my $c = shift;
		my $id = fresh($c);
		good($c->{dbh}, "INSERT INTO p VALUES ($id, 5), ($id, 150)");
		good($c->{dbh}, "UPDATE p SET v = v + 1 WHERE id = $id");
		good($c->{dbh}, "INSERT INTO p_low VALUES ($id, 7)");
		good($c->{dbh}, "UPDATE p_low SET v = 8 WHERE id = $id");
		ok_rows($c, 'p', 4, 2);
		ok_rows($c, 'p_low', 3, 2);
	},
	duplicate_key => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO w VALUES (-1, 1)', '23505');
		note_down($c, 'w', 'failed');
	},
	check_and_null => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', -1)', '23514');
		bad($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', NULL)', '23502');
		note_down($c, 'w', 'failed', 2);
	},
	foreign_key => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO child VALUES (' . fresh($c) . ')', '23503');
		note_down($c, 'child', 'failed');
	},
	permission_denied => sub {
		my $c = shift;
		good($c->{dbh}, 'SET ROLE nobody_writes');
		bad($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)', '42501');
		good($c->{dbh}, 'RESET ROLE');
		note_down($c, 'w', 'failed');
	},
	timeout => sub {
		my $c = shift;
		good($c->{dbh}, 'SET statement_timeout = ' . 200 * $slowness);
		bad($c->{dbh}, 'INSERT INTO w SELECT ' . fresh($c) . ', 1 FROM pg_sleep(600)', '57014');
		good($c->{dbh}, 'RESET statement_timeout');
		note_down($c, 'w', 'failed');
	},
	undefined_column_or_table => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO w (nope) VALUES (1)', '42703');
		bad($c->{dbh}, 'INSERT INTO w SELECT * FROM nowhere', '42P01');
		die 'was prepared' if defined extended($c->{dbh}, 'UPDATE w SET nope = $1', 1);
		bad($c->{dbh}, "SELECT 1; INSERT INTO public.w (nope) VALUES (1); INSERT INTO p VALUES (1, 1)", '42703');
		note_down($c, 'w', 'rejected', 4);
	},
	bad_parameter => sub {
		my $c = shift;
		die 'was executed' if defined extended($c->{dbh}, 'INSERT INTO w VALUES ($1, 1)', 'not a number');
		note_down($c, 'w', 'rejected');
	},
	syntax_error => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO w VALUES (1,, 1)', '42601');
		bad($c->{dbh}, 'INSERT INTO untracked VALUES (1,, 1)', '42601');
		note_down($c, 'w', 'rejected');
	},
	planner_error => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO w VALUES (1 / 0, 1)', '22012');
		bad($c->{dbh}, 'INSERT INTO w VALUES (fails_when_planned(1), 1)', 'P0001');
		note_down($c, 'w', 'rejected', 2);
	},
	rollback => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)') for 1 .. 3;
		good($c->{dbh}, 'INSERT INTO p VALUES (1, 1)');
		good($c->{dbh}, 'ROLLBACK');
		note_down($c, 'w', 'rolled_back', 3);
		note_down($c, 'p', 'rolled_back');
	},
	savepoints => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		good($c->{dbh}, 'SAVEPOINT a');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		good($c->{dbh}, 'SAVEPOINT b');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		good($c->{dbh}, 'RELEASE b');
		good($c->{dbh}, 'SAVEPOINT c');
		bad($c->{dbh}, 'INSERT INTO w VALUES (-1, 1)', '23505');
		good($c->{dbh}, 'ROLLBACK TO c');
		good($c->{dbh}, 'INSERT INTO p VALUES (1, 1)');
		good($c->{dbh}, 'ROLLBACK TO a');
		good($c->{dbh}, 'INSERT INTO p VALUES (1, 1)');
		good($c->{dbh}, 'RELEASE a');
		good($c->{dbh}, 'COMMIT');
		ok_rows($c, 'w', 1);
		ok_rows($c, 'p', 1);
		note_down($c, 'w', 'rolled_back', 2);
		note_down($c, 'w', 'failed');
		note_down($c, 'p', 'rolled_back');
	},
	unreleased_savepoints => sub {
		my $c = shift;
		my $n = 2000;
		good($c->{dbh}, 'BEGIN');
		for my $i (1 .. $n)
		{
			good($c->{dbh}, "SAVEPOINT s$i; INSERT INTO w VALUES (" . fresh($c) . ', 1)');
		}
		good($c->{dbh}, 'ROLLBACK TO s' . ($n - 99));
		good($c->{dbh}, 'COMMIT');
		ok_rows($c, 'w', $n - 100, $n - 100);
		note_down($c, 'w', 'rolled_back', 100);
	},
	caught_in_plpgsql => sub {
		my $c = shift;
		good($c->{dbh}, 'SELECT try_w(-1), try_w(' . fresh($c) . ')');
		good($c->{dbh}, 'DO $$ BEGIN PERFORM try_w(-2); PERFORM try_w(-3); END $$');
		ok_rows($c, 'w', 1);
		note_down($c, 'w', 'failed', 3);
	},
	swallowed => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO p VALUES (1, 1)');
		bad($c->{dbh}, 'INSERT INTO w VALUES (-1, 1)', '23505');
		bad($c->{dbh}, 'SELECT 1', '25P02');
		bad($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)', '25P02');
		good($c->{dbh}, 'COMMIT');
		note_down($c, 'p', 'rolled_back');
		note_down($c, 'w', 'failed');
		note_down($c, 'w', 'rejected');
		note_down($c, 'w', 'swallowed');
	},
	swallowed_otherwise => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		bad($c->{dbh}, 'INSERT INTO w VALUES (-1, -1) ON CONFLICT (id) DO UPDATE SET v = -1', '23514');
		good($c->{dbh}, 'COMMIT');
		note_down($c, 'w', $_) for qw(failed swallowed);
		foreach my $end ('END', 'COMMIT AND CHAIN; ROLLBACK', "PREPARE TRANSACTION 'none$c->{number}'")
		{
			good($c->{dbh}, 'BEGIN');
			bad($c->{dbh}, 'INSERT INTO w VALUES (-1, 1)', '23505');
			good($c->{dbh}, $end);
			note_down($c, 'w', 'failed');
			note_down($c, 'w', 'swallowed');
		}
	},
	chained => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ", 1); $_") for 'COMMIT AND CHAIN', 'ROLLBACK AND CHAIN', 'COMMIT';
		ok_rows($c, 'w', 2, 2);
		note_down($c, 'w', 'rolled_back');
	},
	functions_and_procedures => sub {
		my $c = shift;
		my @ids = map { fresh($c) } 1 .. 9;
		good($c->{dbh}, "SELECT put_w($ids[0])");
		good($c->{dbh}, "SELECT put_w($ids[2]) LIMIT 1");
		good($c->{dbh}, "CALL put_some($ids[4])");
		ok_rows($c, 'w', 7, 5);
		note_down($c, 'w', 'rolled_back', 2);
	},
	triggers_and_rules => sub {
		my $c = shift;
		good($c->{dbh}, "INSERT INTO $_ VALUES (" . fresh($c) . ')') for qw(triggers triggers_view rules);
		bad($c->{dbh}, "INSERT INTO $_ VALUES (-1)", '23505') for qw(triggers triggers_view rules);
		ok_rows($c, 'w', 2, 3);
		note_down($c, 'w', 'failed', 3);
	},
	foreign_key_actions => sub {
		my $c = shift;
		my ($id, $new) = (fresh($c), fresh($c));
		good($c->{dbh}, $_) for "INSERT INTO changing VALUES ($id)", "INSERT INTO follower VALUES ($id)",
			"UPDATE changing SET id = $new WHERE id = $id", "DELETE FROM changing WHERE id = $new";
		ok_rows($c, 'follower', 3, 3);
	},
	failed_and_rolled_back => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		bad($c->{dbh}, 'INSERT INTO w VALUES (-1, 1)', '23505');
		good($c->{dbh}, 'ROLLBACK');
		good($c->{dbh}, 'BEGIN');
		bad($c->{dbh}, 'SELECT 1 / 0', '22012');
		good($c->{dbh}, 'COMMIT');
		note_down($c, 'w', 'failed');
	},
	# One string is one message: its transactions have the same time.
	failed_in_another_of_one_string => sub {
		my $c = shift;
		foreach my $end (qw(COMMIT ROLLBACK))
		{
			bad($c->{dbh}, "BEGIN; DO \$\$ BEGIN PERFORM try_w(-1); END \$\$; $end; BEGIN; SELECT 1 / (SELECT 0)", '22012');
			good($c->{dbh}, 'COMMIT');
			note_down($c, 'w', 'failed');
			bad($c->{dbh}, "BEGIN; DO \$\$ BEGIN PERFORM try_w(-1); END \$\$; $end; BEGIN; INSERT INTO late (nope) VALUES (1)", '42703');
			good($c->{dbh}, 'COMMIT');
			note_down($c, 'w', 'failed');
			note_down($c, 'late', $_) for qw(rejected swallowed);
		}
	},
	failed_at_the_end_of_another_of_one_string => sub {
		my $c = shift;
		foreach my $between ('COMMIT; BEGIN', 'COMMIT AND CHAIN', "PREPARE TRANSACTION 'deferring$c->{number}'; BEGIN")
		{
			bad($c->{dbh}, "BEGIN; INSERT INTO deferring VALUES (1); $between; SELECT 1 / (SELECT 0)", '22012');
			good($c->{dbh}, 'COMMIT');
			note_down($c, 'w', 'failed');
		}
		good($c->{dbh}, "ROLLBACK PREPARED 'deferring$c->{number}'");
	},
	deferred_constraint => sub {
		my $c = shift;
		my $id = fresh($c);
		good($c->{dbh}, "INSERT INTO late VALUES ($id)");
		bad($c->{dbh}, "INSERT INTO late VALUES ($id)", '23505');
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, "INSERT INTO late VALUES ($id)");
		bad($c->{dbh}, 'COMMIT', '23505');
		ok_rows($c, 'late', 1);
		note_down($c, 'late', 'rolled_back', 2);
	},
	multi_statement => sub {
		my $c = shift;
		bad($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1); INSERT INTO w VALUES (-1, 1); INSERT INTO w VALUES (-2, 1)', '23505');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1); INSERT INTO p VALUES (1, 1)');
		note_down($c, 'w', 'rolled_back');
		note_down($c, 'w', 'failed');
		ok_rows($c, 'w', 1);
		ok_rows($c, 'p', 1);
	},
	upsert => sub {
		my $c = shift;
		my $id = fresh($c);
		good($c->{dbh}, "INSERT INTO w VALUES ($id, 1) ON CONFLICT (id) DO UPDATE SET v = w.v + 1") for 1 .. 2;
		good($c->{dbh}, "INSERT INTO w VALUES ($id, 1) ON CONFLICT DO NOTHING");
		ok_rows($c, 'w', 2, 3);
	},
	merge => sub {
		my $c = shift;
		my $id = fresh($c);
		good($c->{dbh}, "MERGE INTO w USING (VALUES ($id), (-1)) AS s (id) ON w.id = s.id"
			  . ' WHEN MATCHED THEN UPDATE SET note = \'merged\' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 1)');
		bad($c->{dbh}, "MERGE INTO w USING (VALUES ($id)) AS s (id) ON w.id = s.id WHEN MATCHED THEN UPDATE SET v = -1", '23514');
		ok_rows($c, 'w', 2);
		note_down($c, 'w', 'failed');
	},
	modifying_cte => sub {
		my $c = shift;
		my $id = fresh($c);
		bad($c->{dbh}, "WITH a AS (INSERT INTO p VALUES ($id, 1) RETURNING id) INSERT INTO w SELECT -1, 1 FROM a", '23505');
		note_down($c, $_, 'failed') for qw(p w);
		good($c->{dbh}, "WITH a AS (INSERT INTO p VALUES ($id, 1), ($id, 2) RETURNING id), b AS (DELETE FROM p_low WHERE id = -1)"
			  . ' INSERT INTO w SELECT id, 1 FROM a LIMIT 1');
		good($c->{dbh}, 'WITH a AS (INSERT INTO w VALUES (' . fresh($c) . ', 1) RETURNING id) SELECT count(*) FROM a');
		ok_rows($c, 'w', 1, 2);
		note_down($c, 'p', 'succeeded');
	},
	copy => sub {
		my $c = shift;
		good($c->{dbh}, 'COPY w (id, v) FROM STDIN');
		$c->{dbh}->pg_putcopydata(fresh($c) . "\t1\n") for 1 .. 5;
		$c->{dbh}->pg_putcopyend or die $c->{dbh}->errstr;
		good($c->{dbh}, 'COPY w (id, v) FROM STDIN');
		$c->{dbh}->pg_putcopydata("-1\t1\n");
		die 'copied a duplicate' if $c->{dbh}->pg_putcopyend;
		bad($c->{dbh}, 'COPY w (nope) FROM STDIN', '42703');
		good($c->{dbh}, "COPY (SELECT 1) TO '/dev/null'");
		ok_rows($c, 'w', 5);
		note_down($c, 'w', 'failed', 2);
	},
	two_phase => sub {
		my $c = shift;
		for my $end ('COMMIT', 'ROLLBACK')
		{
			my $id = fresh($c);
			good($c->{dbh}, 'BEGIN');
			good($c->{dbh}, "INSERT INTO w VALUES ($id, 1)");
			good($c->{dbh}, "PREPARE TRANSACTION 't$id'");
			good($c->{connect}->(), "$end PREPARED 't$id'");
			note_down($c, 'w', 'prepared');
		}
	},
	explain => sub {
		my $c = shift;
		good($c->{dbh}, 'EXPLAIN INSERT INTO w VALUES (-1, 1)');
		good($c->{dbh}, 'EXPLAIN ANALYZE INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		ok_rows($c, 'w', 1);
	},
	untracked => sub {
		my $c = shift;
		good($c->{dbh}, 'INSERT INTO untracked VALUES (1); SELECT count(*) FROM w; CREATE TEMP TABLE w_copy AS SELECT 1; DROP TABLE w_copy');
	},
	disconnect => sub {
		my $c = shift;
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		my $pid = $c->{dbh}->{pg_pid};
		$c->{dbh}->disconnect;
		$c->{dbh} = $c->{connect}->();
		wait_for($c->{dbh}, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
		note_down($c, 'w', 'rolled_back');
	},
	terminated_while_writing => sub {
		my $c = shift;
		my $other = $c->{connect}->();
		my $pid = $c->{dbh}->{pg_pid};
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO p VALUES (1, 1)');
		$c->{dbh}->do('INSERT INTO w SELECT ' . fresh($c) . ', 1 FROM pg_sleep(600)', { pg_async => DBD::Pg::PG_ASYNC() });
		wait_for($other, "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid");
		good($other, "SELECT pg_terminate_backend($pid, 10000)");
		$c->{dbh}->pg_result;
		$c->{dbh}->disconnect;
		$c->{dbh} = $other;
		note_down($c, 'p', 'rolled_back');
		note_down($c, 'w', 'failed');
	},
	terminated_while_idle => sub {
		my $c = shift;
		my $other = $c->{connect}->();
		good($c->{dbh}, 'BEGIN');
		good($c->{dbh}, 'INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		good($other, 'SELECT pg_terminate_backend(' . $c->{dbh}->{pg_pid} . ', 10000)');
		$c->{dbh}->disconnect;
		$c->{dbh} = $other;
		note_down($c, 'w', 'rolled_back');
	},
	gone_while_writing => sub {
		my $c = shift;
		my $id = fresh($c);
		my $gone = IPC::Run::start([ 'psql', '-X', '-q', '-h', $c->{dbh}->{pg_host}, '-p', $c->{dbh}->{pg_port}, '-d', $c->{dbh}->{pg_db},
				'-c', "SET client_connection_check_interval = '20ms'; INSERT INTO w SELECT $id, 1 FROM pg_sleep(600)" ],
			'>', \my $out, '2>', \my $err);
		my $writing = "FROM pg_stat_activity WHERE query LIKE '%INSERT INTO w SELECT $id, 1%' AND pid <> pg_backend_pid()";
		wait_for($c->{dbh}, "SELECT count(*) = 1 $writing AND wait_event = 'PgSleep'");
		$gone->kill_kill(grace => 0);
		wait_for($c->{dbh}, "SELECT count(*) = 0 $writing");
		note_down($c, 'w', 'failed');
	},
	idle_for_too_long => sub {
		my $c = shift;
		my $pid = $c->{dbh}->{pg_pid};
		good($c->{dbh}, "SET idle_in_transaction_session_timeout = '20ms'; BEGIN");
		my $wrote = defined $c->{dbh}->do('INSERT INTO w VALUES (' . fresh($c) . ', 1)');
		$c->{dbh}->disconnect;
		$c->{dbh} = $c->{connect}->();
		wait_for($c->{dbh}, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
		note_down($c, 'w', 'rolled_back') if $wrote;
	},
	transaction_for_too_long => sub {
		my $c = shift;
		return if $c->{dbh}{pg_server_version} < 170000;
		foreach my $writes (0, 1)
		{
			my $pid = $c->{dbh}->{pg_pid};
			good($c->{dbh}, 'SET transaction_timeout = ' . 200 * $slowness);
			if ($writes)
			{
				bad($c->{dbh}, 'INSERT INTO w SELECT ' . fresh($c) . ', 1 FROM pg_sleep(600)');
				note_down($c, 'w', 'failed');
			}
			else
			{
				good($c->{dbh}, 'BEGIN');
				note_down($c, 'w', 'rolled_back') if defined $c->{dbh}->do('INSERT INTO w VALUES (' . fresh($c) . ', 1)');
			}
			my $other = $c->{connect}->();
			wait_for($other, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
			$c->{dbh}->disconnect;
			$c->{dbh} = $other;
		}
	},
	serialization_failure => sub {
		my $c = shift;
		my $other = $c->{connect}->();
		my $id = fresh($c);
		good($c->{dbh}, "INSERT INTO w VALUES ($id, 1)");
		good($c->{dbh}, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
		good($c->{dbh}, 'SELECT 1 FROM w LIMIT 1');
		good($other, "UPDATE w SET v = 2 WHERE id = $id");
		bad($c->{dbh}, "UPDATE w SET v = 3 WHERE id = $id", '40001');
		good($c->{dbh}, 'ROLLBACK');
		$other->disconnect;
		ok_rows($c, 'w', 2, 2);
		note_down($c, 'w', 'failed');
	},
	write_skew => sub {
		my $c = shift;
		my $other = $c->{connect}->();
		my ($one, $two) = (fresh($c), fresh($c));
		my %wrote;

		# Predicate locks are coarse: which of them fails, and where, is open.
		good($c->{dbh}, "INSERT INTO w VALUES ($one, 1), ($two, 1)");
		ok_rows($c, 'w', 2);
		good($_, 'BEGIN ISOLATION LEVEL SERIALIZABLE') for $c->{dbh}, $other;
		$_->do("SELECT sum(v) FROM w WHERE id IN ($one, $two)") for $c->{dbh}, $other;
		foreach my $pair ([ $c->{dbh}, $one ], [ $other, $two ])
		{
			my ($dbh, $id) = @$pair;
			next if $dbh->state;
			$wrote{$id} = defined $dbh->do("UPDATE w SET v = 0 WHERE id = $id");
			note_down($c, 'w', 'failed') unless $wrote{$id};
		}
		foreach my $pair ([ $c->{dbh}, $one ], [ $other, $two ])
		{
			my ($dbh, $id) = @$pair;
			my $done = defined $dbh->do($wrote{$id} ? 'COMMIT' : 'ROLLBACK');
			next unless $wrote{$id};
			$done ? ok_rows($c, 'w', 1) : note_down($c, 'w', 'rolled_back');
		}
		$other->disconnect;
	},
	locked_out => sub {
		my $c = shift;
		my $other = $c->{connect}->();
		my $prepared = $c->{dbh}->prepare('INSERT INTO held VALUES ($1)', { pg_server_prepare => 1 });
		defined $prepared->execute(fresh($c)) or die $c->{dbh}->errstr;
		good($other, 'BEGIN; LOCK TABLE held');
		good($c->{dbh}, "SET lock_timeout = '20ms'");
		bad($c->{dbh}, 'INSERT INTO held VALUES (1)', '55P03');
		bad($c->{dbh}, 'COPY held FROM STDIN', '55P03');
		die 'was not locked out' if defined $prepared->execute(fresh($c));
		good($c->{dbh}, 'RESET lock_timeout; SET statement_timeout = ' . 200 * $slowness);
		bad($c->{dbh}, 'INSERT INTO held VALUES (1)', '57014');
		good($c->{dbh}, 'RESET statement_timeout');
		undef $prepared;

		my $pid = $c->{dbh}->{pg_pid};
		$c->{dbh}->do('INSERT INTO held VALUES (1)', { pg_async => DBD::Pg::PG_ASYNC() });
		wait_for($c->{connect}->(), "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid");
		good($other, "SELECT pg_terminate_backend($pid, 10000)");
		$c->{dbh}->pg_result;
		$c->{dbh}->disconnect;
		good($other, 'ROLLBACK');
		$c->{dbh} = $other;
		ok_rows($c, 'held', 1);
		note_down($c, 'held', 'failed');
		note_down($c, 'held', 'rejected', 4);
	},
	deadlock => sub {
		my $c = shift;
		my $other = $c->{connect}->();
		my ($one, $two) = (fresh($c), fresh($c));
		good($c->{dbh}, "INSERT INTO w VALUES ($one, 1), ($two, 1)");
		good($_, "SET deadlock_timeout = '10s'; BEGIN") for $c->{dbh}, $other;
		good($c->{dbh}, "SET deadlock_timeout = '20ms'");
		good($c->{dbh}, "UPDATE w SET v = 2 WHERE id = $one");
		good($other, "UPDATE w SET v = 2 WHERE id = $two");
		$other->do("UPDATE w SET v = 3 WHERE id = $one", { pg_async => DBD::Pg::PG_ASYNC() });
		wait_for($c->{connect}->(), "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = " . $other->{pg_pid});
		bad($c->{dbh}, "UPDATE w SET v = 3 WHERE id = $two", '40P01');
		good($c->{dbh}, 'ROLLBACK');
		$other->pg_result;
		good($other, 'COMMIT');
		$other->disconnect;
		good($c->{dbh}, 'RESET deadlock_timeout');
		ok_rows($c, 'w', 4, 3);
		note_down($c, 'w', 'rolled_back');
		note_down($c, 'w', 'failed');
	},
);

sub wait_for
{
	my ($dbh, $sql) = @_;
	for (1 .. 1000)
	{
		return if ($dbh->selectrow_array($sql))[0];
		select undef, undef, undef, 0.02;
	}
	die "waited in vain: $sql";
}

# Each way by a client of its own; returns how many there were.
sub try_each_way
{
	my $node = shift;
	my $number = 0;
	foreach my $way (sort keys %ways)
	{
		my $client = connect_client($node, ++$number);
		my $watcher = connect_client($node, 0);
		my $before = counters($watcher->{dbh});

		$ways{$way}->($client);
		is_deeply(difference(counters($watcher->{dbh}), $before), $client->{account}, $way);
		# alone, the second COMMIT fails
		is($client->{account}{w}{rolled_back}, 1, 'at COMMIT') if $way eq 'write_skew';
		$_->{dbh}->disconnect foreach $client, $watcher;
	}
	return $number;
}

1;

# Account.pm
#		What a client expects to be counted, and what the server has counted:
#		{table}{kind}, without zeros.
package Account;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(note_down ok_rows counters difference merge);
my @KINDS = qw(succeeded failed rolled_back rejected swallowed prepared unaccounted rows_written);

sub note_down
{
	my ($c, $table, $kind, $n) = @_;
	$c->{account}{$table}{$kind} += $n // 1;
}

sub ok_rows { my ($c, $table, $rows, $n) = @_; note_down($c, $table, 'succeeded', $n); note_down($c, $table, 'rows_written', $rows) if $rows }

# Of the server, zeros included.
sub counters
{
	my $dbh = shift;
	my $rows = $dbh->selectall_arrayref('SELECT name, ' . join(', ', @KINDS) . ' FROM deploydb.write_counters() WHERE NOT others')
	  or die $dbh->errstr;
	my %counted;
	foreach my $row (@$rows)
	{
		my ($name, @counts) = @$row;
		$counted{$name}{ $KINDS[$_] } = $counts[$_] for 0 .. $#KINDS;
	}
	return \%counted;
}

# What came between.
sub difference
{
	my ($after, $before) = @_;
	my %result;
	foreach my $table (keys %$after)
	{
		foreach my $kind (@KINDS)
		{
			my $n = $after->{$table}{$kind} - ($before->{$table}{$kind} // 0);
			$result{$table}{$kind} = $n if $n;
		}
	}
	return \%result;
}

sub merge
{
	my ($into, $from) = @_;
	foreach my $table (keys %$from)
	{
		$into->{$table}{$_} += $from->{$table}{$_} for keys %{ $from->{$table} };
	}
}

1;

# sql_conventions.pl FILE…
#		What must hold for every install and update script; exits 1 on findings.
#
#		- no OR REPLACE and no IF NOT EXISTS: an object that somebody else made
#		  beforehand must never become ours
#		- @extschema@ never inside quotes of any kind
#		- functions in SQL and PL/pgSQL pin their search_path; a procedure that
#		  commits cannot
use strict;
use warnings;

my $quoted = qr/'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?<tag>\w*)\$.*?\$\k<tag>\$/s;
my $comment = qr/--[^\n]*|\/\*.*?\*\/|^\\[^\n]*/ms;
my $findings = 0;

foreach my $file (@ARGV)
{
	my $sql = do { local (@ARGV, $/) = ($file); <> };
	my ($statement, $start, $line) = ('', 1, 1);

	while ($sql =~ /\G(?:(?<comment>$comment)|(?<quoted>$quoted)|(?<end>;)|\s+|\w+|.)/gs)
	{
		my $text = $&;

		$start = $line if $statement eq '';
		if (defined $+{end})
		{
			check_statement($file, $start, $statement);
			$statement = '';
		}
		elsif (defined $+{quoted})
		{
			report($file, $line, '@extschema@ inside quotes') if index($text, '@extschema') >= 0;
			$statement .= " '' ";
		}
		elsif (!defined $+{comment} && ($statement ne '' || $text =~ /\S/))
		{
			$statement .= $text;
		}
		$line += $text =~ tr/\n//;
	}
}
exit($findings > 0);

sub check_statement
{
	my ($file, $line, $statement) = @_;

	report($file, $line, 'OR REPLACE') if $statement =~ /\bOR\s+REPLACE\b/i;
	report($file, $line, 'IF NOT EXISTS') if $statement =~ /\bIF\s+NOT\s+EXISTS\b/i;
	report($file, $line, 'function without SET search_path')
	  if $statement =~ /^CREATE\s+(FUNCTION|PROCEDURE)\b/i
	  && $statement =~ /\bLANGUAGE\s+(sql|plpgsql)\b/i
	  && $statement !~ /\bSET\s+search_path\b/i
	  && $statement !~ /^CREATE PROCEDURE deploydb\.test_webhook\b/;
}

sub report
{
	my ($file, $line, $what) = @_;

	print "$file:$line: $what\n";
	$findings++;
}

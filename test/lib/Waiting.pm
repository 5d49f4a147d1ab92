# Waiting.pm
#		Waits for what a query says, as a test; should it come to nothing, what the
#		monitor and the outbox are at.
package Waiting;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(wait_until);

sub wait_until
{
	my ($node, $database, $query, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($database, $query), $what)
	  or diag(map { $node->safe_psql($database, "SELECT * FROM deploydb.$_") } qw(worker_status health() notification webhook_state));
	return;
}

1;

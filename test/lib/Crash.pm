# Crash.pm
#		Backends that are killed, and the server's recovery.
package Crash;

use strict;
use warnings;

# Until the postmaster knows of a crash, the dead backend is to be seen, and the
# server still takes connections.  While it recovers, a psql that is refused
# may end before it has read its question.
sub wait_until_restarted
{
	my ($node, $dead) = @_;
	until (eval { $node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $dead)") or die "waited in vain\n" })
	{
		die $@ unless $@ =~ /Broken pipe/;
	}
	return;
}

1;

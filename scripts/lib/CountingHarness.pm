# CountingHarness.pm
#		For "prove --harness CountingHarness": runs tests as always, and appends
#		to the file DEPLOYDB_COUNTS what ./scripts/test adds up: a line
#		"passed failed skipped", counted by assertion, and a line "fail FILE"
#		for each file with a problem.
#
# A file that ends badly without a failed assertion (no plan, a bad exit, a
# crash) counts as one failed; a file that skips all of itself as one skipped.
package CountingHarness;

use strict;
use warnings;
use parent 'TAP::Harness';

sub runtests
{
	my ($self, @tests) = @_;
	my $aggregate = $self->SUPER::runtests(@tests);
	my ($passed, $failed, $skipped) = (0, 0, 0);
	my @bad;

	foreach my $file ($aggregate->descriptions)
	{
		my ($parser) = $aggregate->parsers($file);
		my $skips = () = $parser->skipped;
		my $failures = () = $parser->failed;
		my $successes = () = $parser->passed;

		$failures ||= 1 if $parser->has_problems;
		$skips ||= 1 if $parser->skip_all;
		$failures ||= 1 if !$successes && !$skips;
		$passed += $successes - ($parser->skip_all ? 0 : $skips);
		$failed += $failures;
		$skipped += $skips;
		push @bad, $file if $failures;
	}

	open my $counts, '>>', $ENV{DEPLOYDB_COUNTS} or die "DEPLOYDB_COUNTS: $!";
	print $counts "$passed $failed $skipped\n", map { "fail $_\n" } @bad;
	close $counts or die "DEPLOYDB_COUNTS: $!";
	return $aggregate;
}

1;

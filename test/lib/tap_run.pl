#!/usr/bin/perl
# tap_run.pl COUNTS FILE...
#
# Runs TAP files with prove's own engine and writes "passed failed skipped" to COUNTS, adding after
# each file, so that the numbers stand even if a later file is cut off. A file that ends badly
# without a failed subtest (died, no plan, nothing ran) counts as one failure.
use strict;
use warnings;
use TAP::Harness;

my ($counts, @files) = @ARGV;
my %sum = (passed => 0, failed => 0, skipped => 0);

sub write_counts
{
	open(my $out, '>', $counts) or die "could not write $counts: $!";
	print $out "$sum{passed} $sum{failed} $sum{skipped}\n";
	close($out);
}

my $harness = TAP::Harness->new(
	{
		lib => [ split /:/, $ENV{MA_TAP_LIB} // '' ],
		verbosity => $ENV{VERBOSE} ? 1 : 0,
		jobs => $ENV{TAP_JOBS} || 1,
		timer => 1,
		failures => 1,
		merge => 0,
	});

$harness->callback(
	after_test => sub {
		my ($job, $parser) = @_;
		my $failed = scalar($parser->failed);
		my $skipped = scalar($parser->skipped) + ($parser->skip_all ? 1 : 0);
		my $passed = scalar($parser->passed) - scalar($parser->skipped);

		# parse errors include a plan that does not match the number of tests
		$failed = 1 if $failed == 0 && $parser->has_problems;
		$failed = 1 if $failed == 0 && $passed == 0 && $skipped == 0;
		$sum{passed} += $passed;
		$sum{failed} += $failed;
		$sum{skipped} += $skipped;
		write_counts();
	});

write_counts();
$harness->runtests(@files);
exit($sum{failed} > 0 ? 1 : 0);

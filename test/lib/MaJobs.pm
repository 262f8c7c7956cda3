# MaJobs.pm: runs the jobs of test/jobs as users type them: the shop, what is declared once per shop
# (0a), the job unmodified; then days pass by the clock and by CALL marketing.work().
package MaJobs;

use strict;
use warnings;
use Exporter 'import';
use MIME::QuotedPrint;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(job_shop job pass_time mails mail_of);

my $jobs = "$ENV{MA_TEST_DIR}/jobs";

# A database with the shop and block 0a, its clock at `at` if that is given.
sub job_shop
{
	my ($node, $db, $at) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, slurp_file("$jobs/shop.sql"));
	$node->safe_psql($db, "SELECT marketing.set_clock('$at')") if defined $at;
	job($node, $db, '0a_once');
	return $db;
}

# The file of that name, as it is; `told` is what it prints besides, if anything.
sub job
{
	my ($node, $db, $name, $told) = @_;
	my ($out, $err) = ('', '');
	my $code = $node->psql($db, slurp_file("$jobs/$name.sql"),
		stdout => \$out, stderr => \$err, on_error_stop => 1);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	like("$code $err", $told // qr/^0 $/, "job $name runs as written") or diag($out);
	return $out;
}

# The clock goes to `at`, and the workers do what is due.
sub pass_time
{
	my ($node, $db, $at) = @_;
	$node->safe_psql($db, "SELECT marketing.set_clock('$at')");
	$node->safe_psql($db, 'CALL marketing.work()');
	return;
}

# What was sent so far, "template to contact", by time and contact; and as many files in the spool.
sub mails
{
	my ($node, $db) = @_;
	return $node->safe_psql($db,
		q{SELECT string_agg(format('%s to %s', template, contact), ', ' ORDER BY since, contact)
		FROM marketing.messages WHERE state = 'sent'});
}

# The mail or text of the template that the contact got last, with its lines and signs as they were.
sub mail_of
{
	my ($node, $db, $contact, $template) = @_;
	return decode_qp($node->safe_psql($db,
		qq{SELECT replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'\\r', '') FROM marketing.messages
		WHERE contact = '$contact' AND template = '$template' AND state = 'sent' ORDER BY since DESC LIMIT 1}));
}

1;

# MaWorkers.pm: what the TAP tests of the workers share.
#
# Nothing here sleeps or measures time: tests wait for a state with poll_query_until() and look at
# process ids and counters.
package MaWorkers;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

our @EXPORT = qw(
	new_server scheduler_of wait_scheduler wait_no_scheduler turns wait_turns wait_new_scheduler
	wait_until launcher_pid work_goes_on no_trouble status_of try_psql wait_psql
);

# A started server with the library preloaded; settings and init options may be given.
sub new_server
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%{ $option{init} // {} });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'marketing_automation'")
	  unless $option{bare};
	$node->append_conf('postgresql.conf', $option{conf}) if $option{conf};
	$node->start unless $option{stopped};
	return $node;
}

# SQL that selects the schedulers of a database.
sub scheduler_sql
{
	my ($database, $what) = @_;
	return
	  "SELECT $what FROM pg_stat_activity "
	  . "WHERE backend_type = 'marketing_automation scheduler' AND datname = '$database'";
}

sub scheduler_of
{
	my ($node, $database) = @_;
	return $node->safe_psql('postgres', scheduler_sql($database, 'pid'));
}

sub wait_scheduler
{
	my ($node, $database, $message) = @_;
	ok($node->poll_query_until('postgres', scheduler_sql($database, 'count(*) = 1')), $message);
	return scheduler_of($node, $database);
}

sub wait_no_scheduler
{
	my ($node, $database, $message) = @_;
	ok($node->poll_query_until('postgres', scheduler_sql($database, 'count(*) = 0')), $message);
}

# Waits for a scheduler that is not the process of the given id.
sub wait_new_scheduler
{
	my ($node, $database, $old, $message) = @_;
	ok( $node->poll_query_until(
			'postgres', scheduler_sql($database, "count(*) = 1 AND min(pid) <> $old")),
		$message);
}

# What a query gives while the server may be down or going down; undef: nothing. A psql that cannot connect may
# be gone before it has read its query, which IPC::Run takes for an error.
sub try_psql
{
	my ($node, $database, $sql) = @_;
	my ($code, $out) = eval { $node->psql($database, $sql) };
	return defined $code && $code == 0 ? $out : undef;
}

# Until the condition, a piece of code, is true; false: it never was.
sub wait_until
{
	my ($condition) = @_;
	for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $condition->();
		Time::HiRes::usleep(50_000);
	}
	return 0;
}

# Until the query, asked in that way, gives t.
sub wait_psql
{
	my ($node, $database, $sql) = @_;
	return wait_until(sub { (try_psql($node, $database, $sql) // '') eq 't' });
}

sub launcher_pid
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'marketing_automation launcher'");
}

sub status_of
{
	my ($node, $database, $item, $column) = @_;
	return $node->safe_psql($database,
		"SELECT $column FROM marketing_internal.worker_status() WHERE item = '$item'");
}

sub turns
{
	my ($node, $database) = @_;
	return status_of($node, $database, 'scheduler turns', 'value') || 0;
}

sub wait_turns
{
	my ($node, $database, $more_than) = @_;
	return $node->poll_query_until($database,
		    "SELECT value::bigint > $more_than FROM marketing_internal.worker_status() "
		  . "WHERE item = 'scheduler turns'");
}

# The scheduler of the database takes further turns.
sub work_goes_on
{
	my ($node, $database, $message) = @_;
	my $before = turns($node, $database);
	ok(wait_turns($node, $database, $before + 1), $message);
}

# The log has no line that a crash, an error of a worker or a restart loop would leave.
sub no_trouble
{
	my ($node, $message, $pattern) = @_;
	my $log = slurp_file($node->logfile);

	$pattern //= qr/PANIC|TRAP:|was terminated by signal|WARNING:.*duty|scheduler failed/;
	my @lines = grep { $_ =~ $pattern } split(/\n/, $log);
	is(join("\n", @lines), '', $message);
}

1;

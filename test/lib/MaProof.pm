# MaProof.pm: what the proof tests of capture and flush share: a server without workers, databases
# with a small shop, sessions that stay open, and the invariant every test ends with.
#
# Nothing here sleeps or measures time: sessions wait for their own output, tests for a state.
package MaProof;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(proof_server shop exact figure dirty session run_ok refused waits no_crash occurrences);

# A started server with the library preloaded and no scheduler; settings may be given.
sub proof_server
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(%{ $option{init} // {} });
	$node->append_conf('postgresql.conf', <<"END" . ($option{conf} // ''));
shared_preload_libraries = 'marketing_automation'
marketing_automation.databases = ''
max_prepared_transactions = 10
timezone = 'UTC'
# A slow machine must not turn an evaluation at commit into a spill, but where a test means it.
marketing_automation.sync_wait = '10s'
END
	$node->start;
	return $node;
}

# A database with the shop of proof_shop.sql.
sub shop
{
	my ($node, $db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, slurp_file("$ENV{MA_TEST_DIR}/lib/proof_shop.sql"));
	return $db;
}

# The invariant: what is not in the logs is right, reads are right, and after the worker all is.
# `left` says how many rows of the two logs there must be now: a number (default 0), 'some', or
# undef where it does not matter.
sub exact
{
	my ($node, $db, $message, %option) = @_;
	my $left = exists $option{left} ? $option{left} : '0';
	my $logs = "SELECT (SELECT count(*) FROM marketing_internal.dirty) + (SELECT count(*) FROM marketing_internal.capture_row)";
	my ($out, $err) = ('', '');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $found = $node->safe_psql($db, $logs);
	$left //= $found;
	$found = $found > 0 ? 'some' : '0' if $left eq 'some';
	$node->psql($db, 'SELECT * FROM proof.wrong(false)', stdout => \$out, stderr => \$err);
	my $before = "left $found\n$out$err";
	# What rests for a moment is tried now.
	$node->psql($db, "SELECT proof.wake()", stderr => \$err);
	$before .= $err;
	$node->psql($db, 'CALL marketing.work()', stderr => \$err);
	$before .= $err;
	$node->psql($db, 'SELECT * FROM proof.wrong(true)', stdout => \$out, stderr => \$err);
	return is("$before|$out$err", "left $left\n|", $message);
}

# A figure of marketing.status.
sub figure
{
	my ($node, $db, $item) = @_;
	return $node->safe_psql($db, "SELECT value FROM marketing_internal.capture_status() WHERE item = '$item'");
}

# Occurrences as "row kind of contact", in their order.
sub occurrences
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, 'SELECT * FROM proof.occurrences()');
}

sub dirty
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.dirty');
}

# The script goes through without an error.
sub run_ok
{
	my ($node, $db, $sql, $message, %option) = @_;
	my $err = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $code = $node->psql($db, $sql, stderr => \$err, on_error_stop => 1, %option);
	return is("$code $err", '0 ', $message);
}

# The script fails with the pattern.
sub refused
{
	my ($node, $db, $sql, $pattern, $message, %option) = @_;
	my $err = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->psql($db, "\\set VERBOSITY verbose\n$sql", stderr => \$err, on_error_stop => 1, %option);
	return like($err, $pattern, $message);
}

# Waits until a session of the application name is in the state (SQL over pg_stat_activity).
sub waits
{
	my ($node, $db, $name, $condition) = @_;
	return $node->poll_query_until($db,
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = '$name' AND ($condition)");
}

sub no_crash
{
	my ($node) = @_;
	my @lines = grep { /PANIC|TRAP:|was terminated by signal/ } split(/\n/, slurp_file($node->logfile));
	is(join("\n", @lines), '', 'nothing crashed');
}

# A psql that stays open: $session->query(SQL) answers with output and errors; ->send(SQL) does not
# wait, ->answer gets what it said.
sub session
{
	my ($node, $db, %option) = @_;
	my $self = bless { in => '', out => '', err => '', sent => 0, answered => 0 };
	my $connection = $node->connstr($db) . " application_name=" . ($option{name} // 'session');

	$connection .= " user=$option{user}" if $option{user};
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never', '-f', '-', '-d', $connection ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return $self;
}

sub send
{
	my ($self, $sql) = @_;
	my $mark = 'answer ' . ++$self->{sent};
	$self->{in} .= "$sql\n;\n\\echo $mark\n\\warn $mark\n";
	$self->{run}->pump_nb;
}

sub answer
{
	my ($self) = @_;
	my $mark = 'answer ' . ++$self->{answered};
	$self->{run}->pump until $self->{out} =~ /^\Q$mark\E\n/m && $self->{err} =~ /\Q$mark\E\n/;
	$self->{out} =~ s/\A(.*?)^\Q$mark\E\n//ms;
	my $out = $1;
	$self->{err} =~ s/\A(.*?)^[^\n]*\Q$mark\E\n//ms;
	my $err = $1;
	my $text = $out . join('', map { s/^psql:[^:]*:\d+: //r . "\n" } grep { !/^(LOCATION|HINT|DETAIL)/ } split(/\n/, $err));
	chomp $text;
	return $text;
}

sub query
{
	my ($self, $sql) = @_;
	$self->send($sql);
	return $self->answer;
}

sub close
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	$self->{run}->finish;
}

1;

# MaBench.pm: what the measurements of delivery share (test/bench/bars/delivery*.pl, endpoint.pl): a shop with
# contacts to write to, other programs to send the same, figures in turn and their medians. The server is
# that of the environment. Whatever is started here is ended with the measurement, by its process id.
package MaBench;

use strict;
use warnings;
use Exporter 'import';
use File::Basename;
use File::Temp qw(tempdir);
use IO::Socket::INET;
use Time::HiRes ();

our @EXPORT = qw(psql scratch build start stop free_port wait_port wait_for output median report work_here delivery_pid
  mail_shop queue settled_rate);

my %started;
my $folder = tempdir(CLEANUP => 1);
my $sources = dirname(__FILE__) . '/../bench/delivery';

# One statement, or several; what they print. An error ends the run.
sub psql
{
	my ($sql) = @_;
	open(my $pipe, '-|', 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-c', $sql) or die "psql: $!";
	my @lines = <$pipe>;
	close($pipe) or die "psql failed: $sql";
	chomp(@lines);
	return wantarray ? @lines : join("\n", @lines);
}

# A folder for files of the run.
sub scratch
{
	return $folder;
}

# A program of test/bench/delivery, compiled.
sub build
{
	my ($name, @flags) = @_;
	system('cc', '-O2', '-w', '-D_GNU_SOURCE', '-o', "$folder/$name", "$sources/$name.c", @flags) == 0 or die "$name does not compile";
	return "$folder/$name";
}

# Another program in the background.
sub start
{
	my (@command) = @_;
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$folder/log");
		open(STDERR, '>>', "$folder/log");
		exec(@command) or exit 1;
	}
	$started{$pid} = 1;
	return $pid;
}

sub stop
{
	my ($pid) = @_;
	return unless delete $started{$pid};
	kill('TERM', $pid);
	waitpid($pid, 0);
}

sub free_port
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "socket: $!";
	return $socket->sockport;
}

# Until somebody listens.
sub wait_port
{
	my ($port) = @_;
	wait_for(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) }, "port $port");
}

sub wait_for
{
	my ($condition, $what, $seconds) = @_;
	my $end = Time::HiRes::time() + ($seconds // 60);
	until ($condition->())
	{
		die "$what does not come" if Time::HiRes::time() > $end;
		Time::HiRes::usleep(20_000);
	}
}

# What a program prints; it must end well.
sub output
{
	my (@command) = @_;
	open(my $pipe, '-|', @command) or die "$command[0]: $!";
	my $text = do { local $/; <$pipe> };
	close($pipe) or die "$command[0] failed";
	chomp $text;
	return $text;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return @sorted % 2 ? $sorted[ $#sorted / 2 ] : ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

# name: median [least-most] for each list of figures, and the ratio to the first one.
sub report
{
	my ($title, $unit, @figures) = @_;
	print "$title\n";
	my $ours;
	while (my ($name, $values) = splice(@figures, 0, 2))
	{
		my $median = median(@$values);
		my @sorted = sort { $a <=> $b } @$values;
		$ours //= $median;
		printf "  %-28s %9.0f %s [%.0f-%.0f]%s\n", $name, $median, $unit, $sorted[0], $sorted[-1],
		  $median == $ours ? '' : sprintf('   we have %.2f times that', $ours / $median);
	}
}

# The workers take up this database.
sub work_here
{
	psql("ALTER SYSTEM SET marketing_automation.databases = '$ENV{PGDATABASE}'");
	psql('SELECT pg_reload_conf()');
	wait_for(sub { psql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'marketing_automation scheduler'") == 1 }, 'the scheduler');
}

sub delivery_pid
{
	return psql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'marketing_automation delivery'");
}

# So many customers who want offers, a mail of some 5 KB with two links, and a short text.
sub mail_shop
{
	my ($customers) = @_;
	psql(<<"END");
SET client_min_messages = warning;
SELECT marketing.configure('public_url', 'https://m.shop.example');
SELECT marketing.define_topic('offers', 'Offers', consent => 'opt_out', channels => '{email,sms}');
CREATE TABLE customers (id int PRIMARY KEY, email text, phone text, first_name text);
INSERT INTO customers SELECT i, 'c' || i || '\@example.com', '+90532' || (1000000 + i), 'Ada' || i FROM generate_series(1, $customers) AS i;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', phone => 'phone');
SELECT marketing.define_template('offer', topic => 'offers', subject => 'Offer {{ contact.id }} for {{ contact.first_name }}',
	html => '<html><body><h1>Hello {{ contact.first_name }}</h1>' || repeat('<p>A paragraph of plain words, as every mail of a shop has some of.</p>', 22)
		|| '<p><a href="https://shop.example/offer?id={{ contact.id }}">Look</a> <a href="https://shop.example/">Home</a></p></body></html>',
	text => repeat('A paragraph of plain words, as every mail of a shop has some of.' || chr(10), 22));
SELECT marketing.define_template('text', topic => 'offers', channel => 'sms', text => 'Hello {{ contact.first_name }}, ' || repeat('words of a text, ', 8));
SELECT marketing.arm();
ANALYZE;
END
	psql('CHECKPOINT');
}

# So many messages, each to another customer, in one transaction.
sub queue
{
	my ($n, $template) = @_;
	psql("SELECT count(marketing.send_message(id, '$template')) FROM customers WHERE id <= $n");
}

# Queues n messages, waits until all are settled; how many a second were.
sub settled_rate
{
	my ($n, $template) = @_;
	psql('TRUNCATE marketing_internal.message_log, marketing_internal.message_decision');
	psql('VACUUM marketing_internal.message');
	queue($n, $template);
	wait_for(sub { psql('SELECT count(*) FROM (SELECT FROM marketing_internal.message LIMIT 1) AS m') == 0 }, 'the end of the queue', 600);
	my ($sent, $rate) = split /\|/, psql(<<"END");
SELECT count(*) FILTER (WHERE l.state = 'sent'), count(*) / extract(epoch FROM max(l.settled_at) - (SELECT min(decided_at) FROM marketing_internal.message_decision))
FROM marketing_internal.message_log AS l
END
	die "only $sent of $n were sent" if $sent != $n;
	return $rate;
}

END
{
	my $code = $?;
	stop($_) foreach keys %started;
	$? = $code;
}

1;

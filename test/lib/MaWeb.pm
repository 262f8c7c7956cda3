# MaWeb.pm: marketing-web as tests run it, and clients that speak HTTP by hand, well or badly.
package MaWeb;

use strict;
use warnings;
use Exporter 'import';
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(web_start web_stop web_alive web_log web_open web_ask web_read);

# A running program in front of the database of $node: a hash of its port, process and log file.
sub web_start
{
	my ($node, $database, @options) = @_;
	my $bindir = `$ENV{PG_CONFIG} --bindir`;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $log = PostgreSQL::Test::Utils::tempdir() . "/web_$port.log";
	my $pid;

	chomp $bindir;
	$pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open STDERR, '>', $log or die "$log: $!";
		exec "$bindir/marketing-web", '--database', $node->connstr($database), '--listen', "127.0.0.1:$port",
		  @options;
	}
	my $web = { port => $port, pid => $pid, log => $log };
	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return $web if -s $log && web_log($web) =~ /ready/;
		die 'marketing-web has ended: ' . web_log($web) unless web_alive($web);
		select undef, undef, undef, 0.1;
	}
	die 'marketing-web does not come up: ' . web_log($web);
}

# Ends the program as the system does; its exit code.
sub web_stop
{
	my ($web, $signal) = @_;

	kill $signal // 'TERM', $web->{pid};
	waitpid $web->{pid}, 0;
	$web->{pid} = 0;
	return $?;
}

sub web_alive
{
	my ($web) = @_;
	require POSIX;
	return waitpid($web->{pid}, POSIX::WNOHANG()) == 0;
}

sub web_log
{
	my ($web) = @_;
	return slurp_file($web->{log});
}

sub web_open
{
	my ($web) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $web->{port}, Proto => 'tcp')
	  or die "connect: $!";
	return $socket;
}

# One answer from the socket: status, headers as a text, body. Nothing if the server has closed it.
# What has come of the next answer is kept with the socket.
sub web_read
{
	my ($socket, $method) = @_;
	my $come = \(${*$socket}{ma_come} //= '');

	while ($$come !~ /\r\n\r\n/)
	{
		sysread($socket, $$come, 65536, length $$come) or return;
	}
	$$come =~ s/^(.*?)\r\n\r\n//s;
	my $headers = $1;
	my ($status) = $headers =~ m{^HTTP/1\.1 (\d+)} or die "no HTTP: $headers";
	my ($length) = $headers =~ /^Content-Length: (\d+)/mi;
	$length = 0 if !defined $length || ($method // '') eq 'HEAD';
	while (length $$come < $length)
	{
		sysread($socket, $$come, 65536, length $$come) or return;
	}
	return ($status, $headers, substr($$come, 0, $length, ''));
}

# A whole request on a connection of its own; content makes it a POST unless said otherwise.
sub web_ask
{
	my ($web, $method, $path, $content, $headers) = @_;
	my $socket = web_open($web);

	print $socket "$method $path HTTP/1.1\r\nHost: localhost\r\n", $headers // '',
	  (defined $content ? 'Content-Length: ' . length($content) . "\r\n" : ''), "\r\n", $content // '';
	return web_read($socket, $method);
}

1;

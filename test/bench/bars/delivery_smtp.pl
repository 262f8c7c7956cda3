#!/usr/bin/perl
# delivery_smtp.pl: messages a second from the queue to Postfix's smtp-sink over 1, 10 and 50 connections, from the
# first claim to the last settling, in turn with smtp-source, a bare libcurl loop and a pool of nodemailer, which send
# one mail of ours again and again. Ours are each rendered, signed, looked at by the gate twice and logged. The
# bar: 0.9 times the libcurl loop, at each number of connections. ROUNDS (3), SCALE.
use strict;
use warnings;
use MaBench;

my $rounds = $ENV{ROUNDS} || 3;
my $scale = $ENV{SCALE} || 1;
my $loop = build('loop', '-lcurl');
my $port = free_port();
my $dir = scratch();
my $missed = 0;

mail_shop(20_000);
work_here();

# The mail that the others send: one of ours, from the spool.
queue(1, 'offer');
wait_for(sub { psql("SELECT count(*) FROM marketing.messages WHERE state = 'sent'") == 1 }, 'a mail in the spool');
psql("\\copy (SELECT replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'\\r', '') FROM marketing.messages) TO PROGRAM 'sed \"s/\\\\\\\\n/\\n/g\" > $dir/mail'");
my $octets = -s "$dir/mail";
print "a mail has $octets octets\n";

start('smtp-sink', '-h', 'sink', "127.0.0.1:$port", 1000);
wait_port($port);
my $nodemailer = nodemailer();

foreach my $connections (1, 10, 50)
{
	my $n = int(($connections == 1 ? 6_000 : 20_000) * $scale);
	my %figure;

	psql(<<"END");
CREATE SERVER mail$connections FOREIGN DATA WRAPPER marketing_smtp
	OPTIONS (host '127.0.0.1', port '$port', tls 'none', max_connections '$connections', messages_per_connection '100000');
SELECT marketing.define_sender('shop', channel => 'email', server => 'mail$connections', from_address => 'hello\@shop.example');
END
	settled_rate(int($n / 10) || 1, 'offer');
	foreach my $round (1 .. $rounds)
	{
		push @{ $figure{ours} }, settled_rate($n, 'offer');
		push @{ $figure{libcurl} }, output($loop, 'smtp', $port, $connections, $n, "$dir/mail");
		push @{ $figure{source} }, smtp_source($connections, $n);
		push @{ $figure{node} }, output('node', "$dir/nodemailer.js", $port, $connections, int($n / 4), "$dir/mail") if $nodemailer;
	}
	report("$connections connections", 'a second', 'marketing_automation' => $figure{ours}, 'libcurl alone' => $figure{libcurl},
		'smtp-source' => $figure{source}, $nodemailer ? ('nodemailer' => $figure{node}) : ());
	my $ratio = median(@{ $figure{ours} }) / median(@{ $figure{libcurl} });
	$missed++ if $ratio < 0.9;
	printf "  %s: %.2f of libcurl alone, the bar is 0.9\n", $ratio < 0.9 ? 'MISSED' : 'held', $ratio;
}
exit($missed ? 1 : 0);

sub smtp_source
{
	my ($connections, $n) = @_;
	my $began = Time::HiRes::time();
	system('smtp-source', '-d', '-s', $connections, '-m', $n, '-l', $octets, '-f', 'hello@shop.example', '-t', 'somebody@example.com',
		"127.0.0.1:$port") == 0 or die 'smtp-source failed';
	return $n / (Time::HiRes::time() - $began);
}

# True if it can be had.
sub nodemailer
{
	my $script = "$ENV{MA_BENCH_TOP}/bench/delivery/nodemailer.js";
	return 0 unless -e $script;
	system("cp $script $dir && cd $dir && HOME=$dir npm install --silent --no-audit --no-fund --cache $dir/cache nodemailer > npm.log 2>&1") == 0
	  and return 1;
	print "nodemailer cannot be installed here\n";
	return 0;
}

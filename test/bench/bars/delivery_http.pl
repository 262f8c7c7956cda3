#!/usr/bin/perl
# delivery_http.pl: requests a second from the queue to an HTTP interface over 1, 10 and 50 connections, in turn with
# a bare libcurl loop that posts as much to the same server; once to one that answers at once, as none does that is
# reached over a network, and once to one that takes 5 ms. The bar: 0.5 times the loop. ROUNDS (3), SCALE.
use strict;
use warnings;
use MaBench;

my $rounds = $ENV{ROUNDS} || 3;
my $scale = $ENV{SCALE} || 1;
my $loop = build('loop', '-lcurl');
my $sink = build('http_sink');
my $dir = scratch();
my $missed = 0;

mail_shop(20_000);
work_here();
open(my $body, '>', "$dir/body") or die $!;
print $body '{"message": 123456, "channel": "sms", "key": "0123456789abcdef0123456789abcdef", "from": "+15550001", "to": "+905321000001", "text": "', 'x' x 370, '"}';
close($body);

foreach my $case ([ 0, 1 ], [ 0, 10 ], [ 0, 50 ], [ 5, 1 ], [ 5, 10 ], [ 5, 50 ])
{
	my ($delay, $connections) = @$case;
	my $n = int(($delay ? 300 * $connections : 20_000) * $scale);
	my $port = free_port();
	my %figure;

	my $server = start($sink, $port, "$dir/ready$port", $delay);
	wait_for(sub { -e "$dir/ready$port" }, 'the server');

	psql(<<"END");
CREATE SERVER http${delay}_$connections FOREIGN DATA WRAPPER marketing_http
	OPTIONS (url 'http://127.0.0.1:$port/send', allow_http 'true', allow_private 'true', max_connections '$connections');
SELECT marketing.define_sender('texter', channel => 'sms', server => 'http${delay}_$connections', from_address => '+15550001');
END
	settled_rate(int($n / 10) || 1, 'text');
	foreach my $round (1 .. $rounds)
	{
		push @{ $figure{ours} }, settled_rate($n, 'text');
		push @{ $figure{libcurl} }, output($loop, 'post', "http://127.0.0.1:$port/send", $connections, $n, "$dir/body");
	}
	stop($server);
	report("$connections connections, an answer takes $delay ms", 'a second', 'marketing_automation' => $figure{ours}, 'libcurl alone' => $figure{libcurl});
	my $ratio = median(@{ $figure{ours} }) / median(@{ $figure{libcurl} });
	$missed++ if $ratio < 0.5;
	printf "  %s: %.2f of libcurl alone, the bar is 0.5\n", $ratio < 0.5 ? 'MISSED' : 'held', $ratio;
}
exit($missed ? 1 : 0);

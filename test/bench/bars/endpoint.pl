#!/usr/bin/perl
# endpoint.pl: requests a second that marketing-web answers, each committed before its answer: tracked links of real
# messages and their pictures over 1, 10 and 50 connections, beside the same function called by pgbench
# over as many sessions, which is what the database can do. The bar: half of that at 10. ROUNDS (3), SCALE.
use strict;
use warnings;
use MaBench;

my $rounds = $ENV{ROUNDS} || 3;
my $scale = $ENV{SCALE} || 1;
my $loop = build('loop', '-lcurl');
my $port = free_port();
my $dir = scratch();
my $bindir = output('pg_config', '--bindir');
my $ratio_at_10;

mail_shop(1000);
work_here();
queue(1000, 'offer');
wait_for(sub { psql("SELECT count(*) FROM marketing.messages WHERE state = 'sent'") == 1000 }, 'the messages in the spool');
# Quoted-printable undone, as far as it matters here.
my @paths = psql(<<'END');
SELECT DISTINCT m[1] FROM marketing.messages AS x,
	regexp_matches(replace(replace(replace(convert_from(pg_read_binary_file(x.detail), 'UTF8'), E'=\r\n', ''), '=2D', '-'), '=46', 'F'), 'https://m.shop.example(/[co]/[-_A-Za-z0-9]+)', 'g') AS m
END
die 'no links in the messages' if @paths < 2000;
open(my $urls, '>', "$dir/urls") or die $!;
print $urls "http://127.0.0.1:$port$_\n" foreach @paths;
close($urls);
open(my $script, '>', "$dir/direct.sql") or die $!;
print $script "\\set n random(1, ", scalar(@paths), ")\nSELECT (marketing.web_request('GET', path, '{\"user-agent\": \"curl\"}', NULL, '127.0.0.1')).status FROM paths WHERE id = :n;\n";
close($script);
open(my $copy, '|-', 'psql', '-X', '-q', '-c', 'CREATE TABLE paths (id serial PRIMARY KEY, path text)', '-c', '\copy paths (path) FROM STDIN') or die $!;
print $copy "$_\n" foreach @paths;
close($copy) or die 'copy failed';
psql('ANALYZE paths');

start("$bindir/marketing-web", '--database', "host=$ENV{PGHOST} user=$ENV{PGUSER} dbname=$ENV{PGDATABASE}", '--listen', "127.0.0.1:$port");
wait_port($port);
foreach my $connections (1, 10, 50)
{
	my $n = int(($connections == 1 ? 5_000 : 20_000) * $scale);
	my %figure;

	output($loop, 'get', "$dir/urls", $connections, 500);
	foreach my $round (1 .. $rounds)
	{
		push @{ $figure{web} }, output($loop, 'get', "$dir/urls", $connections, $n);
		my $text = output('pgbench', '-n', '-M', 'prepared', '-c', $connections, '-t', int($n / $connections), '-f', "$dir/direct.sql");
		$text =~ /tps = ([\d.]+) \(without/ or die $text;
		push @{ $figure{direct} }, $1;
	}
	report("$connections connections", 'a second', 'marketing-web' => $figure{web}, 'the function by pgbench' => $figure{direct});
	$ratio_at_10 = median(@{ $figure{web} }) / median(@{ $figure{direct} }) if $connections == 10;
}
printf "%s: %.2f of the database alone at 10 connections, the bar is 0.5\n", $ratio_at_10 < 0.5 ? 'MISSED' : 'held', $ratio_at_10;
exit($ratio_at_10 < 0.5 ? 1 : 0);

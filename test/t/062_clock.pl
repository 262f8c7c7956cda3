# 062_clock.pl
#
# marketing.now(): one time within a statement, however long it runs, and never backwards over all
# sessions.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('clock');
my $db = 'shop';
$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql($db, 'CREATE EXTENSION marketing_automation');

my $holder = session($node, $db, name => 'holder');
my $long = session($node, $db, name => 'long');

# A statement that looks at the clock, waits while another session looks, and looks again.
$long->query(<<'END');
SET client_min_messages = notice;
CREATE FUNCTION pg_temp.twice(look boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before timestamptz := CASE WHEN look THEN marketing.now() END;
	after timestamptz;
BEGIN
	PERFORM pg_advisory_xact_lock(1);
	after := marketing.now();
	RETURN format('%s %s', after = coalesce(before, after), after - statement_timestamp() < interval '1 ms');
END $$;
END
$holder->query('SELECT pg_advisory_lock(1)');
$long->send('SELECT pg_temp.twice(true)');
ok(waits($node, $db, 'long', "wait_event = 'advisory'"), 'a statement waits between two looks');
isnt($node->safe_psql($db, 'SELECT marketing.now()'), '', 'another session looks');
$holder->query('SELECT pg_advisory_unlock(1)');
is($long->answer, 't t', 'it has one time, that of its start');

# A statement that has not looked yet when another one did comes after that one.
$holder->query('SELECT pg_advisory_lock(1)');
$long->send('SELECT pg_temp.twice(false), marketing.now()');
ok(waits($node, $db, 'long', "wait_event = 'advisory'"), 'a statement waits before its first look');
my $other = $node->safe_psql($db, 'SELECT marketing.now()');
$holder->query('SELECT pg_advisory_unlock(1)');
my (undef, $first) = split /\|/, $long->answer;
is($node->safe_psql($db, "SELECT '$first'::timestamptz >= '$other'::timestamptz"), 't', 'never backwards');
is($node->safe_psql($db, "SELECT marketing.now() >= '$first'::timestamptz AND marketing.now() = marketing.now()"), 't', 'nor afterwards');

# A set clock takes effect at once and goes at once.
is($node->safe_psql($db, q{SELECT marketing.set_clock('2030-01-01'); SELECT marketing.now()}) =~ s/.*\n//sr, '2030-01-01 00:00:00+00', 'a set clock');
is($node->safe_psql($db, q{SELECT marketing.set_clock(NULL); SELECT marketing.now() - statement_timestamp() < interval '1 s'}) =~ s/.*\n//sr, 't', 'and real time again');

unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/stepped back/, 'no step was seen');
$holder->close;
$long->close;
no_crash($node);
$node->stop;
done_testing();

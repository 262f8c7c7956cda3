# MaSegmentMix.pm: writers of every kind, the worker and readers at once, on a dozen contacts whose
# segments flip with rows and with the clock; what every reader must find is that verify_segment()
# finds nothing. Used by test/t/114_segment_mix.pl (seconds), make soak BENCH=segments (minutes) and
# make mutants. The server is that of the environment; its scheduler runs in the database.
package MaSegmentMix;

use strict;
use warnings;
use File::Temp qw(tempdir);

my $contacts = 12;

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

# The shop, in an empty database with the extension.
sub prepare
{
	psql(<<"END");
SET client_min_messages = warning;
CREATE TABLE customers (id int PRIMARY KEY, city text);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int, total int, at timestamptz);
CREATE TABLE visits (id bigserial PRIMARY KEY, customer_id int, at timestamptz);
CREATE INDEX ON orders (customer_id, at) INCLUDE (total);
CREATE INDEX ON visits (customer_id, at);
INSERT INTO customers SELECT i, 'Rome' FROM generate_series(1, $contacts) AS i;
SELECT marketing.attach_contacts('customers', id => 'id');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.attach_events('visits', event => 'visited', contact => 'customer_id', occurred_at => 'at');
SELECT marketing.define_list('staff');
SELECT marketing.define_segment('parity', 'count(order_placed) in 3 seconds = 1 or count(order_placed) in 3 seconds = 3');
SELECT marketing.define_segment('busy', 'count(order_placed) in 1 second >= 2');
SELECT marketing.define_segment('quiet', 'no order_placed in 1 second');
SELECT marketing.define_segment('dear', 'sum(order_placed.total) in 2 seconds > 30 and city = ''Rome''');
SELECT marketing.define_segment('left', 'any visited in 4 seconds not followed by order_placed within 1 second');
SELECT marketing.define_segment('safe', 'in segment dear or in list staff and not in segment busy');
SELECT marketing.define_segment('band', 'avg(order_placed.total) in 5 seconds >= 10 and max(order_placed.total) in 5 seconds < 25');
SELECT marketing.define_segment('all_two', 'all of last 2 order_placed matching (total > 10)');
CREATE TABLE found (at timestamptz DEFAULT clock_timestamp(), name text, contact text, stored boolean, expected boolean);
CREATE TABLE looked (n bigint);
CREATE FUNCTION look() RETURNS void LANGUAGE sql AS \$\$
	INSERT INTO found (name, contact, stored, expected)
		SELECT s.name, v.* FROM marketing_internal.segment AS s CROSS JOIN LATERAL marketing.verify_segment(s.name) AS v;
	INSERT INTO looked VALUES (1);
\$\$;
END
}

my $who = "\\set a random(1, $contacts)\n\\set b random(1, $contacts)\n\\set t random(1, 30)\n";
my $order = sub { "INSERT INTO orders (customer_id, total, at) VALUES (:$_[0], :t, marketing.now());\n" };

# name: (weight, script)
my %mix = (
	one => [8, $order->('a')],
	two => [4, "BEGIN;\n" . $order->('a') . $order->('b') . "COMMIT;\n"],
	repeatable => [4, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM customers;\n" . $order->('a') . $order->('b') . "COMMIT;\n"],
	serializable => [2, "BEGIN ISOLATION LEVEL SERIALIZABLE;\n" . $order->('a') . "COMMIT;\n"],
	early => [3, "BEGIN;\n" . $order->('a') . "SELECT marketing.flush();\n" . $order->('b') . "COMMIT;\n"],
	savepoint => [3, "BEGIN;\nSAVEPOINT s;\n" . $order->('a') . "SELECT marketing.flush();\nROLLBACK TO s;\n" . $order->('b') . "COMMIT;\n"],
	rollback => [2, "BEGIN;\n" . $order->('a') . "SELECT marketing.flush();\nROLLBACK;\n"],
	prepared => [2, "\\set g random(1, 1000000000)\nBEGIN;\n" . $order->('a') . "PREPARE TRANSACTION 'g:g';\nCOMMIT PREPARED 'g:g';\n"],
	late => [3, "INSERT INTO orders (customer_id, total, at) VALUES (:a, :t, marketing.now() + (:b - 6) * interval '0.3 seconds');\n"],
	visit => [4, "INSERT INTO visits (customer_id, at) VALUES (:a, marketing.now());\n"],
	move => [2, "UPDATE orders SET customer_id = :b, total = :t WHERE id = (SELECT max(id) FROM orders WHERE customer_id = :a);\n"],
	delete => [2, "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders WHERE customer_id = :a);\n"],
	city => [1, "UPDATE customers SET city = CASE WHEN :t % 2 = 0 THEN 'Rome' ELSE 'Oslo' END WHERE id = :a;\n"],
	list => [2, "SELECT marketing.add_to_list(:a, 'staff');\nSELECT marketing.remove_from_list(:b, 'staff');\n"],
	bulk => [1, "SET marketing_automation.sync_max_contacts = 2;\nINSERT INTO orders (customer_id, total, at) SELECT 1 + i % $contacts, :t, marketing.now() FROM generate_series(1, 6) AS i;\nRESET marketing_automation.sync_max_contacts;\n"],
	look => [3, "SELECT look();\n"],
	look_repeatable => [1, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT look();\nCOMMIT;\n"],
	look_own => [2, "BEGIN;\n" . $order->('a') . "SELECT look();\nCOMMIT;\n"],
	read => [2, "SELECT marketing.in_segment(:a, 'parity'), marketing.segment_size('busy');\n"],
);

# Runs the mix; returns its figures.
sub run
{
	my (%o) = @_;
	my $dir = tempdir(CLEANUP => 1);
	my @files;
	my %figure;

	for my $name (sort keys %mix)
	{
		my ($weight, $script) = @{ $mix{$name} };
		my $file = "$dir/$name.sql";
		# gids are texts: pgbench puts numbers in only outside of quotes.
		$script =~ s/'g:g'/:gid/g;
		$script =~ s/\\set g random\(1, 1000000000\)\n/\\set g random(1, 1000000000)\nSELECT quote_literal('g' || :g) AS gid \\gset\n/;
		open(my $out, '>', $file) or die "$file: $!";
		print $out $who, $script;
		close($out);
		push @files, '-f', "$file\@$weight";
	}
	my $deadlocks = psql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
	open(my $pipe, '-|', 'pgbench', '-n', '-c', $o{clients}, '-j', 2, '-T', $o{seconds}, '--max-tries=50',
		"--random-seed=$o{seed}", '-r', @files) or die "pgbench: $!";
	my @out = <$pipe>;
	$figure{pgbench} = close($pipe) ? 0 : $? >> 8;
	($figure{transactions}) = join('', @out) =~ /number of transactions actually processed: (\d+)/;
	($figure{failed}) = join('', @out) =~ /number of failed transactions: (\d+)/;
	psql("CALL marketing.work('0')");
	# What the mix left is evaluated, by the scheduler or by us, before the last look.
	for (1 .. 200)
	{
		last if psql('SELECT NOT EXISTS (SELECT FROM marketing_internal.dirty)') eq 't';
		psql("UPDATE marketing_internal.dirty SET retry_at = NULL; CALL marketing.work('0')");
	}
	$figure{left} = psql('SELECT count(*) FROM marketing_internal.dirty');
	psql('SELECT look()');
	$figure{looks} = psql('SELECT count(*) FROM looked');
	$figure{mismatches} = psql('SELECT count(*) FROM found');
	$figure{example} = psql("SELECT string_agg(DISTINCT name || '/' || contact || CASE WHEN stored THEN ' too many' ELSE ' missing' END, ', ') FROM (SELECT * FROM found LIMIT 20) AS f");
	$figure{flips} = psql('SELECT count(*) FROM marketing_internal.segment_transition');
	$figure{by_time} = psql("SELECT count(*) FROM marketing_internal.segment_transition WHERE cause = 'time'");
	$figure{not_alternating} = psql(<<'END');
SELECT count(*) FROM (SELECT entered = lag(entered) OVER (PARTITION BY segment_id, contact_id ORDER BY transition_id) AS same
	FROM marketing_internal.segment_transition) AS t WHERE same
END
	$figure{failing} = psql('SELECT count(*) FROM marketing.segments WHERE error IS NOT NULL');
	$figure{deadlocks} = psql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") - $deadlocks;
	return \%figure;
}

# What must not be, as lines.
sub wrong
{
	my ($figure) = @_;
	my @wrong;
	for my $name (qw(mismatches not_alternating deadlocks failing left failed pgbench))
	{
		push @wrong, "$name: " . ($figure->{$name} // 'unknown') if ($figure->{$name} // 1) ne '0';
	}
	push @wrong, $figure->{example} if $figure->{example};
	return @wrong;
}

sub report
{
	my ($figure) = @_;
	return join('', map { "$_: " . ($figure->{$_} // 'unknown') . "\n" } sort keys %$figure);
}

1;

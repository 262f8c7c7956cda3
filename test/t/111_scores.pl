# 111_scores.pl
#
# Scores beside plain SQL over the same rows with decay in closed form: after every step of random
# histories (INSERT, UPDATE, DELETE, late and future rows, tracked events, bulk, savepoints, changes of
# rules, of time zones, of ids and of names of columns, points without a row, merges and splits, jumps of
# the clock) scores and segments made of them are read right with the worker stopped, and after it what is
# stored, reached and told is. SCORE_SEEDS says which histories.
use strict;
use warnings;
use Test::More;
use PostgreSQL::Test::Utils;
use MaProof;

my @seeds = split ' ', $ENV{SCORE_SEEDS} // '1 16';
my $steps = $ENV{SCORE_STEPS} // 30;
my $node = proof_server('scores');

# A small generator of our own, so that a seed means the same everywhere.
my $state;
sub pick { $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % shift; }
sub one { return $_[ pick(scalar @_) ]; }
sub customer { return 1 + pick(12); }
# Mostly the last weeks, some of it long ago or still to come.
sub instant
{
	my $back = one(0, pick(3600), pick(86400), pick(86400 * 12), pick(86400 * 60), -pick(86400 * 8));
	return "marketing.now() - interval '$back seconds'";
}
sub page { return sprintf "INSERT INTO shop_events (name, customer_id, at, path) VALUES ('page', %d, %s, '%s')", customer(), instant(), one('/', '/jobs', '/shop'); }
sub visit { return sprintf "INSERT INTO shop_visits (customer_id, at, amount, status) VALUES (%d, %s, %d, '%s')", customer(), instant(), pick(200) - 40, one('ok', 'ok', 'ok', 'void'); }
my $dedup = 0;
sub track { return sprintf q{SELECT marketing.track('%d', '%s', '{"by": "%s"}', %s)}, customer(), one('called', 'called', 'form'), one('us', 'them'), instant(); }
my @changes = (
	sub { page() }, sub { page() }, sub { visit() }, sub { visit() }, sub { track() },
	sub { sprintf "INSERT INTO site_events (name, customer_id, at) VALUES ('form', %d, %s)", customer(), instant() },
	sub { sprintf "INSERT INTO shop_events (name, customer_id, at, path) SELECT 'page', 1 + g %% 12, marketing.now() - g * interval '%d seconds', '/' FROM generate_series(1, %d) AS g", 1 + pick(3000), 1 + pick(400) },
	sub { sprintf "UPDATE shop_visits SET amount = amount + %d WHERE id %% 3 = %d", pick(60) - 30, pick(3) },
	sub { sprintf "UPDATE visits SET status = '%s' WHERE id %% 4 = %d", one('ok', 'void'), pick(4) },
	sub { sprintf "UPDATE site_events SET at = at + interval '%d hours' WHERE id %% 5 = %d", pick(200) - 100, pick(5) },
	sub { sprintf "UPDATE site_events SET customer_id = %d WHERE id %% 7 = %d", customer(), pick(7) },
	sub { sprintf "DELETE FROM %s WHERE id %% 6 = %d", one('visits', 'site_events'), pick(6) },
	sub { sprintf "UPDATE customers SET tz = '%s' WHERE id = %d", one('Europe/Istanbul', 'Asia/Tokyo', 'America/New_York'), customer() },
	sub { sprintf "UPDATE customers SET gone = NOT gone WHERE id = %d", customer() },
	sub { sprintf "SELECT proof.add(%d, '%s', %d)", customer(), one('fading', 'steady'), pick(30) - 10 },
	sub { sprintf "INSERT INTO shop_visits (customer_id, at, amount) VALUES (%d, '%s', 30)", customer(), one('infinity', '-infinity', '1990-01-01') });
sub transaction
{
	my @parts = map { one(@changes)->() } 1 .. 1 + pick(4);
	splice @parts, 1, 0, 'SAVEPOINT s', one(@changes)->(), one('ROLLBACK TO s', 'RELEASE s') if pick(3) == 0;
	return join(";\n", 'BEGIN', @parts, one('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK')) . ';';
}
sub redefine
{
	return one(
		sprintf("SELECT proof.define('fading', 'page', 'page', '%d', NULL, %d, '%s')", 1 + pick(3), 1 + pick(5), one('day', 'week', 'month')),
		sprintf("SELECT proof.define('steady', 'visit', 'visited', 'amount / %d', NULL, NULL, NULL, %s)", 5 + pick(10), one('NULL', "'2 months'", "'9 days'")),
		sprintf("SELECT marketing.define_score_model('fading', half_life => '%d hours', thresholds => '%s')", 24 + pick(400), one('{"warm": 10, "hot": 25}', '{"warm": 12.5, "cool": 5}')),
		sprintf("SELECT proof.rename('visits', 4, '%s')", one('amount', 'paid', 'Sum')),
		sprintf("SELECT proof.rename('site_events', 5, '%s')", one('path', 'page path', 'name of it')),
		"SELECT proof.drop(model, name) FROM proof.rule WHERE (model, name) = ('steady', 'form')",
		"SELECT proof.define('steady', 'form', 'form', '2')");
}
sub other
{
	my ($a, $b) = (customer(), customer());
	return one(
		"DO \$\$ BEGIN PERFORM marketing.merge_contacts('$a', '$b'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$",
		"DO \$\$ BEGIN PERFORM marketing.split_contact('$a'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$",
		sprintf("SELECT marketing.set_clock(marketing.now() + interval '%d seconds')", one(1, pick(7200), pick(86400 * 3), pick(86400 * 15))),
		sprintf("SELECT marketing.set_clock(marketing.now() + interval '%d seconds')", pick(86400 * 5)));
}

foreach my $seed (@seeds)
{
	my $db = "shop$seed";
	my @history;
	my $wrong = '';

	$state = $seed;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->safe_psql($db, slurp_file("$ENV{MA_TEST_DIR}/lib/proof_scores.sql"));
	for my $i (1 .. $steps)
	{
		my $what = pick(10);
		my $sql = $what < 6 ? transaction() : $what < 8 ? other() : $what < 9 ? redefine() : 'CALL marketing.work()';
		my ($out, $err) = ('', '');

		push @history, $sql;
		$node->psql($db, "SET client_min_messages = error;\n$sql;\nSELECT proof.wrong_scores(false)", stdout => \$out, stderr => \$err);
		$wrong = join "\n", grep { $_ =~ /right|ERROR|FATAL|server closed/ } split /\n/, "$out\n$err";
		last if $wrong;
		next if pick(3) > 0;
		($out, $err) = ('', '');
		$node->psql($db, 'CALL marketing.work(); SELECT proof.wrong_scores(true)', stdout => \$out, stderr => \$err);
		$wrong = "after the worker:\n$out$err";
		last if "$out$err" ne '';
		$wrong = '';
	}
	ok($wrong eq '', "history $seed: $steps steps") or diag(join("\n", @history) . "\n$wrong");
	my $told = $node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.occurrence');
	cmp_ok($told, '>', 0, "history $seed told $told crossings") unless $wrong;
}

# Four writers of two contacts, the worker and a changed rule beside them: reads are right at each moment,
# and after the worker nothing is lost.
my $busy = 'busy';
$node->safe_psql('postgres', "CREATE DATABASE $busy");
$node->safe_psql($busy, slurp_file("$ENV{MA_TEST_DIR}/lib/proof_scores.sql"));
my @writers = map { session($node, $busy, name => "writer$_") } 1 .. 4;
$_->query("SET client_min_messages = error; SET marketing_automation.sync_wait = '20ms'") foreach @writers;
my $wrong = '';
for my $turn (1 .. 8)
{
	foreach my $i (0 .. $#writers)
	{
		my $id = 100000 + $turn * 1000 + $i * 100;
		$writers[$i]->send("DO \$\$ BEGIN FOR i IN 1 .. 6 LOOP
			INSERT INTO visits (id, customer_id, at, amount) VALUES ($id + i, 1 + i % 2, marketing.now() - i * interval '1 hour', 20 + i);
			INSERT INTO site_events (id, name, customer_id, at, path) VALUES ($id + i, 'page', 1 + (i + $i) % 2, marketing.now(), '/');
			IF i % 3 = 0 THEN COMMIT; END IF;
			UPDATE visits SET amount = amount + 5 WHERE id = $id + i - 1;
			DELETE FROM visits WHERE id = $id + i - 3;
			IF i = 4 THEN PERFORM marketing.add_points(1 + i % 2, 'fading', 1); END IF;
			COMMIT; END LOOP; END \$\$");
	}
	$node->psql($busy, 'CALL marketing.work()') if $turn % 3 == 0;
	$node->psql($busy, sprintf "SELECT proof.define('steady', 'visit', 'visited', '%d', NULL, 2, 'month')", $turn) if $turn % 4 == 0;
	my ($out, $err) = ('', '');
	$node->psql($busy, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SET client_min_messages = error; SELECT proof.wrong_scores(false)', stdout => \$out, stderr => \$err);
	$wrong .= "turn $turn: $out$err\n" if "$out$err" ne '';
	$_->answer foreach @writers;
}
$_->close foreach @writers;
is($wrong, '', 'reads beside four writers of two contacts');
my ($out, $err) = ('', '');
$node->psql($busy, 'CALL marketing.work(); SELECT proof.wrong_scores(true)', stdout => \$out, stderr => \$err);
is("$out$err", '', 'and what they left is right');

no_crash($node);
$node->stop;
done_testing();

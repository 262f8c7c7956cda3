# 055_flush_dump.pl
#
# pg_dump: attaching and detaching leaves the user's schema as it was; a dump of a database in use
# brings back every row and sequence of the extension, capturing triggers, and a disarmed copy.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaProof;

my $node = proof_server('dump');

# 15. Before attaching, and after detach_all() and DROP EXTENSION.
my $db = 'plain';
$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql($db, <<'END');
CREATE TABLE customers (id int PRIMARY KEY, email text, ok boolean);
CREATE TABLE leads (id uuid PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, at timestamptz, status text);
CREATE TABLE items (id int PRIMARY KEY, order_id int REFERENCES orders, at timestamptz);
CREATE TABLE visits (customer_id int, at timestamptz NOT NULL, name text) PARTITION BY RANGE (at);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2019-01-01') TO ('2020-01-01') PARTITION BY LIST (name);
CREATE TABLE visits_1_a PARTITION OF visits_1 FOR VALUES IN ('a');
CREATE TABLE visits_2 PARTITION OF visits DEFAULT;
CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER own AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION own();
CREATE ROLE keeper;
CREATE SCHEMA keeper AUTHORIZATION keeper;
CREATE TABLE keeper.calls (id int PRIMARY KEY, customer_id int, at timestamptz);
ALTER TABLE keeper.calls OWNER TO keeper;
INSERT INTO customers VALUES (1, 'a@example.com', true);
END
sub schema_of
{
	my ($database) = @_;
	my $file = $node->basedir . '/schema.sql';
	command_ok([ 'pg_dump', '-s', '-f', $file, '-d', $node->connstr($database) ], 'pg_dump -s');
	# newer servers put a random word into \restrict
	return slurp_file($file) =~ s/^\\(un)?restrict .*\n//gmr;
}
my $schema = schema_of($db);
my $everything = <<'END';
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
SELECT marketing.attach_contacts('customers', id => 'id', email => 'email', exclude => 'NOT ok');
SELECT marketing.attach_contacts('leads', id => 'id', email => 'email', match => 'email');
SELECT marketing.attach_events('orders', event => 'order_placed', contact => 'customer_id', occurred_at => 'at', condition => $$ status <> 'void' $$, on_replica => true);
SELECT marketing.attach_events('items', event => 'item_bought', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', via => '{"table": "orders", "on": "order_id = id"}', lookup => '{"bill": {"table": "orders", "on": "order_id = id"}}');
SELECT marketing.attach_events('visits', event_column => 'name', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
SELECT marketing.attach_events('keeper.calls', event => 'call', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', mode => 'async');
SELECT marketing_internal.define_counter('orders', 'order_placed');
SELECT marketing_internal.define_counter('items', 'item_bought', '10 years');
SELECT marketing.define_snippet('line', '{{ line.id }};');
SELECT marketing.define_layout('frame', html => '<p>{{ content }}</p>');
SELECT marketing.define_query('lines', 'SELECT id FROM orders WHERE customer_id = $1 ORDER BY id', params => '{contact.id}');
SELECT marketing.define_template('mail', topic => 'transactional', layout => 'frame', subject => '{{ contact.email }}', html => '{% for line in lines %}{% render "line", line: line %}{% endfor %}');
SELECT marketing.track('1', 'called', '{"a": 1}', occurred_at => '2020-01-01');
SELECT marketing.track('web:anon', 'called', occurred_at => now());
INSERT INTO orders VALUES (1, 1, '2020-01-01', 'paid');
INSERT INTO items VALUES (1, 1, now());
INSERT INTO visits VALUES (1, '2019-01-01', 'a'), (1, '2021-01-01', 'b');
CREATE TABLE visits_3 PARTITION OF visits FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
CALL marketing.work();
DROP TABLE visits_3;
END
run_ok($node, $db, $everything, 'everything attached and used');
run_ok($node, $db, <<'END', 'everything detached');
SET client_min_messages = warning;
SELECT marketing_internal.drop_counter('orders'), marketing_internal.drop_counter('items');
SELECT marketing.detach_all();
DROP EXTENSION marketing_automation;
DROP TABLE IF EXISTS none;
DELETE FROM visits; DELETE FROM items; DELETE FROM orders;
END
is(schema_of($db), $schema, 'detach_all() and DROP EXTENSION: the schema is as before');
run_ok($node, $db, $everything, 'everything once more');
run_ok($node, $db, 'DROP EXTENSION marketing_automation', 'DROP EXTENSION without detaching, without CASCADE');
is(schema_of($db), $schema, 'DROP EXTENSION alone: the schema is as before');

# 16. Every table and sequence, filled by use.
$db = shop($node, 'shop');
$node->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE TABLE subscribers (id text PRIMARY KEY, email text);
INSERT INTO subscribers VALUES ('a', 'c1@example.com'), ('b', 'b@example.com');
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', match => 'email');
CREATE TABLE visits (id int, customer_id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE visits_2020 PARTITION OF visits FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE places (id int PRIMARY KEY, name text);
SELECT marketing.attach_events('visits', event => 'visit', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at', lookup => '{"place": {"table": "places", "on": "id = id"}}');
SELECT marketing_internal.define_counter('visits', 'visit');
INSERT INTO proof.recount VALUES ('visits', $$ SELECT proof.contact('customers', customer_id::text), count(*) FROM visits GROUP BY 1 $$);
CREATE TABLE visits_2021 PARTITION OF visits FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
SELECT marketing_internal.record_event('order_placed');
SELECT marketing.define_snippet('line', '{{ line.id }};');
SELECT marketing.define_layout('frame', html => '<p>{{ content }}</p>');
SELECT marketing.define_query('lines', 'SELECT id FROM orders WHERE customer_id = $1 ORDER BY id', params => '{contact.id}');
SELECT marketing.define_template('mail', topic => 'transactional', layout => 'frame', subject => '{{ contact.email }}', html => '{% for line in lines %}{% render "line", line: line %}{% endfor %}');
SELECT marketing.declare_event('called', '{"plan": "text"}');
SELECT marketing.track('1', 'called', '{"plan": "x"}', occurred_at => '2020-01-01', dedup_key => 'k');
SELECT marketing.track('web:anon', 'called', occurred_at => now());
SELECT marketing.track('2', 'called', occurred_at => '1999-01-01');
SELECT marketing.identify('2', '{"a": 1, "email": "z@example.com"}');
SELECT marketing.merge_contacts('3', '4');
SELECT marketing.merge_contacts('5', '6');
SELECT marketing.split_contact('6');
INSERT INTO orders (id, customer_id) SELECT i, i % 9 + 1 FROM generate_series(1, 20) AS i;
INSERT INTO visits SELECT i, i % 9 + 1, timestamptz '2020-06-01' + i * interval '10 days' FROM generate_series(1, 40) AS i;
SELECT marketing.define_topic('offers');
SELECT marketing.subscribe('1', 'offers', proof => '{"form": "x"}');
SELECT marketing.suppress('nobody@example.com');
SELECT marketing.define_sender('shop', channel => 'email', from_address => 'hello@shop.example');
SELECT marketing.define_layout('brand', html => '<p>{{ content }}</p>');
SELECT marketing.define_snippet('foot', 'bye');
SELECT marketing.define_query('one', 'SELECT 1 AS n');
SELECT marketing.define_template('offer', topic => 'offers', layout => 'brand', subject => 'x', html => '<a href="https://shop.example/">x</a>');
SELECT marketing.send_message('1', 'offer', dedup_key => 'k');
SELECT marketing.send_message('1', 'offer', not_before => '2099-01-01');
SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 5}');
SELECT marketing.define_score_rule('lead', 'order', event => 'order_placed', points => 10);
SELECT marketing.define_score_model('fit', thresholds => '{"A": 5}'), marketing.define_grade('both', '{lead,fit}');
SELECT marketing.define_stage('buyer', 10), marketing.define_stage('fan', 20), marketing.define_stage('rare', 30, 'count(order_placed) > 1000');
SELECT marketing.add_points('1', 'lead', 3, 'met'), marketing.define_owner('ada', email => 'ada@example.com', team => 'calls'), marketing.define_hand_off('lead', assign => 'round_robin:calls');
SELECT marketing.accept_lead('1', by => 'ada'), marketing.reject_lead('2', 'student'), marketing.set_stage('2', 'fan');
INSERT INTO marketing_internal.task (contact_id, title, created_at) SELECT contact_id, 'call', now() FROM marketing_internal.contact LIMIT 1;
SELECT marketing.define_journey('slow', '{"entry": {"event": "order_placed"}, "goal": {"event": "order_placed"}, "steps": [{"wait": "300 days"}]}');
SELECT marketing.activate_journey('slow');
INSERT INTO orders (id, customer_id) VALUES (50, 2);
CALL marketing.work();
INSERT INTO orders (id, customer_id) VALUES (51, 2);
CALL marketing.work();
INSERT INTO marketing_internal.journey_date_plan (journey_id, since, keep) VALUES (1, now(), now());
INSERT INTO marketing_internal.enrollment_held (contact_id, journey_id, at) VALUES (1, 1, now());
INSERT INTO marketing_internal.enrollment_parked VALUES (1, 1);
SELECT marketing.identify('web:dated', '{"renewal": "2099-01-01"}');
SELECT marketing.define_journey('renewal', '{"entry": {"date": "renewal"}, "steps": [{"wait": "1 day"}]}');
SELECT marketing.activate_journey('renewal');
SELECT marketing.define_journey('trial', '{"entry": {"event": "order_placed"}, "steps": [{"test": {"variants": {"a": "offer", "b": "mail"}, "measure": {"event": "order_placed"}, "after": "9 days", "no_winner": "a"}}]}');
SELECT marketing.activate_journey('trial');
INSERT INTO orders (id, customer_id) VALUES (52, 2);
CALL marketing.work();
SELECT marketing.define_broadcast('sale', '{"audience": "true", "test": {"variants": {"a": "offer", "b": "mail"}, "share": 0.5, "measure": {"event": "order_placed"}, "after": "9 days", "no_winner": "a"}}');
SELECT marketing.launch_broadcast('sale');
CALL marketing.work();
SELECT marketing.exit_journey('2', 'slow');
SELECT marketing.record_open(substring(replace(replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=46', 'F'), '=2D', '-') FROM '/o/([-_A-Za-z0-9]+)'))
	FROM marketing.messages WHERE template = 'offer' AND state = 'sent';
SELECT marketing.record_delivery_event('mail', '1', 'delivered', recipient => 'c1@example.com');
SELECT marketing.rotate_key();
SELECT marketing.define_asset('logo.png', '\x89504e47');
SELECT marketing.define_coupon_pool('ten'), marketing.add_coupons('ten', '{A,B}');
SELECT marketing.define_holiday('2026-01-01', 'New Year');
SELECT marketing.define_cap('weekly', 3), marketing.set_quiet_hours('sms', '21:00', '09:00');
INSERT INTO marketing_internal.server_state VALUES ('mail', 1, now(), 'busy', 1, 1, now());
SELECT marketing.identify('web:gone', '{"email": "gone@example.com"}'), marketing.erase_contact('web:gone');
SELECT marketing.define_list('staff');
SELECT marketing.add_to_list('1', 'staff');
INSERT INTO marketing.list_members VALUES ('staff', 'nobody at all');
SELECT marketing.define_segment('known', 'customers.id > 0 and not in list staff');
SELECT marketing.define_segment('odd', 'count(order_placed where (100 / (id - 77) <> 7)) > 1000');
INSERT INTO orders (id, customer_id) VALUES (77, 3);
SELECT marketing.define_segment('gone', 'any called');
SELECT marketing.drop_segment('gone');
INSERT INTO marketing_internal.stage_passed_over (contact_id, stage_id) VALUES (1, 1);
INSERT INTO marketing_internal.lead_waiting (contact_id, model_id) VALUES (1, 1);
INSERT INTO marketing_internal.segment_drift SELECT segment_id, 1, true, now() FROM marketing_internal.segment WHERE name = 'known';
SELECT marketing.arm();
SELECT marketing.disarm();
SELECT marketing.set_clock('2026-01-01');
SET marketing_automation.sync_max_contacts = 0;
INSERT INTO orders (id, customer_id) VALUES (100, 1), (101, 2);
UPDATE customers SET id = 90 WHERE id = 9;
INSERT INTO subscribers VALUES ('c', 'c@example.com');
SELECT marketing.set_clock(NULL);
SELECT marketing.arm();
-- no partition of a month without events, and a setting that outlives the arming
DO $$
DECLARE t regclass; filled boolean;
BEGIN
	FOR t IN SELECT i.inhrelid FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE c.relnamespace = 'marketing_internal'::regnamespace AND c.relkind = 'r' LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM %s)', t) INTO filled;
		IF NOT filled THEN EXECUTE format('DROP TABLE %s', t); END IF;
	END LOOP;
END $$;
INSERT INTO marketing_internal.setting VALUES ('proof', 'kept');
END
my $tables = q{SELECT c.oid::regclass::text FROM pg_class AS c WHERE relnamespace = 'marketing_internal'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1};
# Row count and checksum of each table, last value of each sequence; authority is for this copy only.
sub contents
{
	my ($database) = @_;
	my @lines;
	for my $table (split /\n/, $node->safe_psql($database, $tables))
	{
		next if $table eq 'marketing_internal.authority';
		push @lines, "$table " . $node->safe_psql($database, "SELECT count(*), md5(string_agg(t::text, ';' ORDER BY t::text)) FROM $table AS t");
	}
	for my $sequence (split /\n/, $node->safe_psql($database, q{SELECT c.oid::regclass::text FROM pg_class AS c WHERE relnamespace = 'marketing_internal'::regnamespace AND relkind = 'S' ORDER BY 1}))
	{
		push @lines, "$sequence " . $node->safe_psql($database, "SELECT last_value, is_called FROM $sequence");
	}
	return join("\n", @lines);
}
my $contents = contents($db);
is(join(' ', $contents =~ /^(\S+) 0\|/mg), '', 'every table has rows');
like($contents, qr/marketing_internal.event_p?\w+ \d+\|/, 'tracked events have partitions made at run time');
is($node->safe_psql($db, 'SELECT count(*) FROM marketing_internal.authority'), '1', 'armed');

for my $way ('plain', 'custom', 'data and schema apart')
{
	my $copy = "copy_" . substr($way, 0, 2);
	my $file = $node->basedir . "/$copy.dump";

	$node->safe_psql('postgres', "CREATE DATABASE $copy");
	if ($way eq 'plain')
	{
		command_ok([ 'pg_dump', '-f', $file, '-d', $node->connstr($db) ], "$way: pg_dump");
		command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $node->connstr($copy) ], "$way: restored");
	}
	elsif ($way eq 'custom')
	{
		command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr($db) ], "$way: pg_dump");
		command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr($copy), $file ], "$way: restored");
	}
	else
	{
		command_ok([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr($db) ], "$way: pg_dump");
		command_ok([ 'pg_restore', '-e', '--section=pre-data', '-d', $node->connstr($copy), $file ], "$way: pre-data");
		command_ok([ 'pg_restore', '-e', '--section=data', '-d', $node->connstr($copy), $file ], "$way: data");
		command_ok([ 'pg_restore', '-e', '--section=post-data', '-d', $node->connstr($copy), $file ], "$way: post-data");
	}
	is(contents($copy), $contents, "$way: every row and sequence");
	is($node->safe_psql($copy, 'SELECT count(*) FROM marketing_internal.authority'), '0', "$way: disarmed");
	is($node->safe_psql($copy, q{SELECT value FROM marketing.status WHERE item = 'delivery'}), 'disarmed', "$way: and says so");
	is($node->safe_psql($copy, q{SELECT string_agg(value, ' ') FROM marketing.status WHERE item LIKE 'table %'}), 'attached attached attached attached attached', "$way: triggers are there");
	is($node->safe_psql($copy, q{SELECT string_agg(item, ', ' ORDER BY item) FROM marketing.status WHERE state = 'error'}),
		'segment known, segment odd', "$way: the errors of segments are in status, and no other");
	exact($node, $copy, "$way: what waited is done", left => 'some');
	is($node->safe_psql($copy, q{SELECT subject, html <> '<p></p>' FROM marketing.preview_message('1', 'mail')}),
		$node->safe_psql($db, q{SELECT subject, true FROM marketing.preview_message('1', 'mail')}), "$way: a template shows rows");
	run_ok($node, $copy, <<'END', "$way: it works on");
SET client_min_messages = warning;
INSERT INTO orders (id, customer_id) VALUES (200, 1), (201, 90);
INSERT INTO customers VALUES (91, NULL);
INSERT INTO visits VALUES (200, 91, '2020-01-01'), (201, 1, '2021-01-01');
INSERT INTO visits_2021 VALUES (202, 2, '2021-01-01');
UPDATE visits SET at = '2021-02-01' WHERE id = 200;
INSERT INTO subscribers VALUES ('d', 'c2@example.com');
SELECT marketing.track('web:other', 'called', occurred_at => '2020-01-01');
SELECT marketing.track('web:other', 'called', occurred_at => now());
CREATE TABLE visits_2022 PARTITION OF visits FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
INSERT INTO visits VALUES (300, 1, '2022-01-01');
END
	exact($node, $copy, "$way: captured at commit");
	is($node->safe_psql($copy, q{SELECT marketing.track('1', 'called', '{"plan": "x"}', dedup_key => 'k')}), 'f', "$way: a known dedup_key is known");
	is($node->safe_psql($copy, q{SELECT marketing.split_contact('4')}), '4', "$way: a merge is undone");
	exact($node, $copy, "$way: split");
	run_ok($node, $copy, 'DROP EXTENSION marketing_automation', "$way: DROP EXTENSION without CASCADE, rules or not");
	is($node->safe_psql($copy, q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'marketing%'}), '0', "$way: nothing of it is left");
}

# A copy by CREATE DATABASE is disarmed as well, and works.
run_ok($node, 'postgres', "CREATE DATABASE clone TEMPLATE $db", 'CREATE DATABASE TEMPLATE');
is($node->safe_psql('clone', q{SELECT value FROM marketing.status WHERE item = 'delivery'}), 'disarmed', 'a clone is disarmed');
exact($node, 'clone', 'the clone works', left => 'some');
is($node->safe_psql($db, q{SELECT value FROM marketing.status WHERE item = 'delivery'}), 'armed', 'the original is armed still');

no_crash($node);
$node->stop;
done_testing();

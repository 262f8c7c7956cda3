# 166_journey_simulation_standby.pl
#
# A journey is simulated on a standby, which writes nothing, as on its primary.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use Test::More;
use MaWorkers;

my $primary = new_server('primary', init => { allows_streaming => 1 }, conf => "marketing_automation.databases = ''\ntimezone = 'UTC'");
my $db = 'postgres';
my $definition = '{"entry": {"event": "ordered"}, "reentry": "always", "filter": "not in list done", "max_entries": 4, "exit_on": [{"event": "push_clicked"}],
	"steps": [{"send": "letter"}, {"add_to_list": "done"}, {"update": {"seen": "yes"}}, {"wait": "1 day"}, {"branch": [{"if": "count(email_sent) in 2 days >= 1", "then": [{"exit": "sent"}]}]}]}';
my $ask = "SELECT string_agg(s::text, E'\\n') FROM marketing.simulate_journey('$definition'::jsonb, '2026-05-01') AS s";

$primary->safe_psql($db, <<'END');
SET client_min_messages = warning;
CREATE EXTENSION marketing_automation;
SELECT marketing.set_clock('2026-06-01 00:00+00');
CREATE TABLE people (id int PRIMARY KEY, email text);
CREATE TABLE orders (id int PRIMARY KEY, person int, at timestamptz);
CREATE INDEX ON orders (person, at);
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 3) AS i;
INSERT INTO orders SELECT i, 1 + i % 3, '2026-05-02 00:00+00'::timestamptz + i * interval '9 hours' FROM generate_series(1, 12) AS i;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
SELECT marketing.attach_events('orders', event => 'ordered', contact => 'person', contact_source => 'people', occurred_at => 'at');
SELECT marketing.define_topic('news', 'News', channels => '{email}', consent => 'opt_out');
SELECT marketing.define_template('letter', topic => 'news', subject => 'Hi', text => 'Hello');
SELECT marketing.define_list('done');
SELECT marketing.identify(1, '{"seen": "no"}');
CALL marketing.work();
END
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);
my $expected = $primary->safe_psql($db, $ask);
like($expected, qr/refused.*not in list done/, 'a filter sees what a step has done');
is($standby->safe_psql($db, $ask), $expected, 'the standby tells the same');
$standby->stop;
$primary->stop;
done_testing();

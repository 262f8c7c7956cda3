# 118_due_in_turn.pl
#
# What falls due while the scheduler is at work is done at once, not a poll later: steps that fall due one by one, a
# few each time it looks, are done in many transactions.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $node = new_server('due', conf => "marketing_automation.databases = '*'\n");

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', <<'END');
CREATE EXTENSION marketing_automation;
CREATE TABLE people (id int PRIMARY KEY, email text);
INSERT INTO people SELECT i, 'p' || i || '@example.com' FROM generate_series(1, 600) AS i;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
CREATE TABLE done (contact text);
CREATE FUNCTION step_done(contact text, entry jsonb) RETURNS int LANGUAGE sql AS $$ INSERT INTO public.done VALUES (contact) RETURNING 1 $$;
SELECT marketing.define_journey('j', '{"steps": [{"wait": "1 day"}, {"sql": "public.step_done"}]}');
SELECT marketing.activate_journey('j');
SELECT count(marketing.enroll(id, 'j')) FROM people;
END
wait_scheduler($node, 'shop', 'a scheduler works');
ok($node->poll_query_until('shop', "SELECT count(*) = 600 FROM marketing_internal.enrollment WHERE state = 'due'"), 'all wait');
$node->safe_psql('shop', <<'END');
BEGIN;
UPDATE marketing_internal.enrollment SET due_at = now() + interval '1 second' + contact_id * interval '5 milliseconds';
TRUNCATE marketing_internal.enrollment_due;
INSERT INTO marketing_internal.enrollment_due SELECT due_at, contact_id, enrollment_id FROM marketing_internal.enrollment;
COMMIT;
END
ok($node->poll_query_until('shop', 'SELECT count(*) = 600 FROM done'), 'all steps are done');
# Looking again a poll later wherever one falls due during another made 29 to 199 of them.
my $n = $node->safe_psql('shop', 'SELECT count(DISTINCT xmin::text) FROM done');
diag("600 steps in $n transactions");
cmp_ok($n, '>', 250, 'in many transactions');
no_trouble($node, 'nothing went wrong');
$node->stop;
done_testing();

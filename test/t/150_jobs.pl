# 150_jobs.pl
#
# The jobs users do (test/jobs), run as they type them, with their outcome: what was sent to whom,
# who is in which list and segment, what the answers say.
use strict;
use warnings;
use Test::More;
use MaJobs;
use MaProof;

my $node = proof_server('jobs');

# 3 win-back: who lapses after the activation is asked back, until he orders.
my $db = job_shop($node, 'win_back', '2026-06-01 12:00+00');
$node->safe_psql($db, <<'END');
INSERT INTO customers (id, first_name, email, tz, newsletter_ok) VALUES
	(44, 'Zeynep', 'zeynep@shop.example', 'Europe/Istanbul', true),
	(45, 'Elif', 'elif@shop.example', 'Europe/Istanbul', true);
-- 42 has lapsed already; the 90 days of the others end in ten days, those of 43 without consent.
INSERT INTO orders (customer_id, created_at, total) VALUES (42, '2026-02-01 12:00+00', 10),
	(43, '2026-03-13 12:00+00', 10), (44, '2026-03-13 12:00+00', 10), (45, '2026-03-13 12:00+00', 10);
END
job($node, $db, '3_win_back');
pass_time($node, $db, '2026-06-11 11:59+00');
is(mails($node, $db), '', 'nobody is written to before he lapses');
is($node->safe_psql($db, q{SELECT string_agg(contact, ' ') FROM marketing.segment_members('lapsed')}), '42', 'who had lapsed before');
pass_time($node, $db, '2026-06-11 12:00+00');
is($node->safe_psql($db, q{SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.segment_members('lapsed')}), '42 43 44 45', 'at the instant the others lapse');
is(mails($node, $db), 'miss_you to 44, miss_you to 45', 'two are written to; 42 was there before, 43 has given no consent');
$node->safe_psql($db, q{INSERT INTO orders (customer_id, created_at, total) VALUES (45, '2026-06-11 12:00+00', 5)});
pass_time($node, $db, '2026-06-18 11:59+00');
is(mails($node, $db), 'miss_you to 44, miss_you to 45', 'a week has not passed');
pass_time($node, $db, '2026-06-18 12:01+00');
is(mails($node, $db), 'miss_you to 44, miss_you to 45, offer to 44', 'the next one goes to who has not ordered');
pass_time($node, $db, '2026-07-02 12:02+00');
is(mails($node, $db), 'miss_you to 44, miss_you to 45, offer to 44, last_notice to 44', 'and the last one');
is($node->safe_psql($db, q{SELECT value FROM marketing.preview_segment('in list sunset') WHERE what = 'contacts'}), '2', 'who came to the end is on the list, written to or not');
like($node->safe_psql($db, q{SELECT string_agg(what || coalesce(' ' || detail, ''), ', ' ORDER BY at) FROM marketing.explain_enrollment(45, 'win_back')}),
	qr/order_placed/, 'his run says that the order ended it');
my $why = $node->safe_psql($db, q{SELECT string_agg(gate || ' ' || verdict, ', ' ORDER BY n) FROM marketing.why_not_sent(43, 'miss_you') WHERE verdict = 'no'});
is($why, 'topic consent no', 'why 43 got nothing');

# A definition that is run again changes nothing, and the extension goes without CASCADE.
my $again = job($node, $db, '3_win_back');
like($again, qr/lapsed: unchanged.*win_back: unchanged/s, 'the same definitions again');
$node->safe_psql($db, 'DROP EXTENSION marketing_automation');
is($node->safe_psql($db, q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'marketing%'}), '0', 'nothing is left');

$node->stop;
done_testing();

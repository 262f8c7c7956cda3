# 150_jobs.pl
#
# The jobs users do (test/jobs), run as they type them, with their outcome: what was sent to whom,
# who is in which list and segment, what the answers and the links of messages do.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaJobs;
use MaProof;
use MaWeb;

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

my $browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n";

# The shop of one job behind marketing-web, where the links of its messages lead.
sub web_shop
{
	my ($name) = @_;
	job_shop($node, $name, '2026-06-01 12:00+00');
	my $web = web_start($node, $name);
	$node->safe_psql($name, "SELECT marketing.configure('public_url', 'http://127.0.0.1:$web->{port}')");
	return $web;
}

# Asks for the message, and has the workers do what is due.
sub send_now
{
	my ($db, $contact, $template, $data) = @_;
	$data //= '{}';
	$node->safe_psql($db, "SELECT marketing.send_message('$contact', '$template', data => '$data')");
	$node->safe_psql($db, 'CALL marketing.work()');
}

# 1 welcome with double opt-in. 44 is the customer that the subscriber turns out to be.
my $web = web_shop('welcome');
like(job($node, 'welcome', '1_welcome'), qr/^welcome: version 1 is active\n.*^newsletter\/email: pending$/ms, 'who signs up is to confirm');
my ($ayse) = $node->safe_psql('welcome', q{SELECT contact FROM marketing.contacts WHERE email = 'ayse@example.com'});
is($ayse, 'subscribers:1', 'a subscriber of her own');
$node->safe_psql('welcome', q{INSERT INTO subscribers (email) VALUES ('can@example.com')});
$node->safe_psql('welcome', q{SELECT marketing.subscribe('subscribers:2', 'newsletter', 'email')});
$node->safe_psql('welcome', 'CALL marketing.work()');
is(mails($node, 'welcome'), 'confirm to subscribers:1, confirm to subscribers:2', 'both are asked to confirm');
my ($confirm) = mail_of($node, 'welcome', $ayse, 'confirm') =~ m{<a href="http://127\.0\.0\.1:$web->{port}(/confirm/[-_A-Za-z0-9]+)">Yes, sign me up</a>};
my $state = q{SELECT state FROM marketing.consent_state WHERE topic = 'newsletter' AND contact = 'subscribers:1'};
is((web_ask($web, 'GET', $confirm))[0] . ' ' . $node->safe_psql('welcome', $state), '200 pending', 'a scanner that fetches the link confirms nothing');
is((web_ask($web, 'POST', $confirm, ''))[0] . ' ' . $node->safe_psql('welcome', $state), '200 opted_in', 'the button does');
is($node->safe_psql('welcome', q{SELECT string_agg(state || ' ' || source || ' ' || coalesce(proof::text, ''), ', ' ORDER BY change) FROM marketing.consent_change WHERE topic = 'newsletter' AND contact = 'subscribers:1'}),
	'pending subscribe {"form": "footer", "text": "v3"}, opted_in confirm ', 'the ledger has both, with the proof');
my $sent = 'confirm to subscribers:1, confirm to subscribers:2';
pass_time($node, 'welcome', '2026-06-01 12:05+00');
is(mails($node, 'welcome'), "$sent, welcome to subscribers:1", 'who has confirmed is welcomed');
pass_time($node, 'welcome', '2026-06-03 12:01+00');
pass_time($node, 'welcome', '2026-06-03 12:06+00');
is(mails($node, 'welcome'), "$sent, welcome to subscribers:1, confirm to subscribers:2, best_content to subscribers:1", 'the other is asked once more');
my $welcome = mail_of($node, 'welcome', $ayse, 'welcome');
like($welcome, qr/<h1>Our shop.*…/s, 'in the layout of the shop') or diag($welcome);
my ($leave) = $welcome =~ m{List-Unsubscribe: <http://127\.0\.0\.1:$web->{port}(/u/[-_A-Za-z0-9]+)>};
my ($click) = mail_of($node, 'welcome', $ayse, 'best_content') =~ m{href="http://127\.0\.0\.1:$web->{port}(/c/[-_A-Za-z0-9]+)"};
$node->safe_psql('welcome', q{SELECT marketing.set_clock('2026-06-03 12:10+00')});
my ($status, $headers) = web_ask($web, 'GET', $click, undef, $browser);
like("$status $headers", qr{^302 .*^Location: https://shop\.example/best\r?$}ms, 'the tracked link leads where it says');
is($node->safe_psql('welcome', 'SELECT kind, machine FROM marketing.message_hits'), 'click|f', 'and tells of it');
is((web_ask($web, 'POST', $leave, 'List-Unsubscribe=One-Click'))[0], 200, 'one click');
pass_time($node, 'welcome', '2026-06-10 12:10+00');
is($node->safe_psql('welcome', q{SELECT string_agg(contact || ' ' || e.state || ' ' || e.reason, ', ' ORDER BY contact) FROM marketing_internal.enrollment AS e JOIN marketing.contacts AS c ON c._contact_id = e.contact_id}),
	'subscribers:1 exited unsubscribed, subscribers:2 exited never confirmed', 'ends it; who never confirms is asked no third time');
unlike(mails($node, 'welcome'), qr/feedback/, 'and nothing more is sent');
$node->safe_psql('welcome', <<'END');
INSERT INTO customers (id, first_name, email, tz) VALUES (44, 'Ayşe', 'ayse.k@example.com', 'Europe/Istanbul');
SELECT marketing.merge_contacts('44', 'subscribers:1');
INSERT INTO orders (customer_id, created_at, total) VALUES (44, '2026-06-10 12:10+00', 50), (44, '2026-06-10 12:10+00', 5);
CALL marketing.work();
END
is($node->safe_psql('welcome', q{SELECT contacts, state FROM marketing.journey_status('welcome') WHERE kind = 'goal'}), '1|reached by 50.0 % of the runs; target 20.0 %', 'her order within 30 days is what it was for');
is(web_stop($web), 0, 'the endpoint ends');

# The job simulates the last 30 days of the real time, which must be over by the set clock.
# 2 abandoned cart: a mail after an hour, a text if it is not opened or cannot come, a coupon for who is known to want one.
$web = web_shop('cart');
$node->safe_psql('cart', q{SELECT marketing.set_clock('2099-06-01 12:00+00')});
$node->safe_psql('cart', q{INSERT INTO orders (customer_id, created_at, total) VALUES (42, '2099-05-01 12:00+00', 10)});
$node->safe_psql('cart', q{SELECT marketing.define_segment('discount_sensitive', 'any order_placed where (total < 20)')});
like(job($node, 'cart', '2_abandoned_cart', qr/^0 /), qr/^abandoned_cart: version 1 is active$/m, 'simulated and activated');
$node->safe_psql('cart', <<'END');
INSERT INTO carts (customer_id, updated_at, item_count, url) VALUES (42, '2099-06-01 12:00+00', 2, 'https://shop.example/cart/1'), (43, '2099-06-01 12:00+00', 1, 'https://shop.example/cart/2');
INSERT INTO cart_items (cart_id, title, qty, price) VALUES (1, 'Shoe & sock', 2, 12.5), (1, 'Hat', 1, 1999), (2, 'Bag', 1, 5);
END
pass_time($node, 'cart', '2099-06-01 12:59+00');
is(mails($node, 'cart'), '', 'nothing within the hour');
pass_time($node, 'cart', '2099-06-01 13:00+00');
is(mails($node, 'cart'), 'cart_mail to 42', 'then a mail');
like(mail_of($node, 'cart', 42, 'cart_mail'), qr{<li>2 x Shoe &amp; sock, .*12[.,]50.*</li><li>1 x Hat, .*1[.,]999[.,]00.*</li></ul>}, 'with the lines of the basket');
is($node->safe_psql('cart', q{SELECT template, state FROM marketing.messages WHERE contact = '43' ORDER BY message}), "cart_mail|skipped\ncart_sms|skipped", 'who may not be mailed is texted instead, but has no number');
pass_time($node, 'cart', '2099-06-02 11:59+00');
is(mails($node, 'cart'), 'cart_mail to 42', 'a day is not over');
pass_time($node, 'cart', '2099-06-02 12:00+00');
is(mails($node, 'cart'), 'cart_mail to 42, cart_sms to 42', 'who has not opened it is texted');
($click) = mail_of($node, 'cart', 42, 'cart_sms') =~ m{"text": "Ayşe, sepetin bekliyor: http://127\.0\.0\.1:$web->{port}(/c/[-_A-Za-z0-9]+)"};
$node->safe_psql('cart', q{SELECT marketing.set_clock('2099-06-02 12:10+00')});
($status, $headers) = web_ask($web, 'GET', $click, undef, $browser);
like("$status $headers", qr{^302 .*^Location: https://shop\.example/cart/1\r?$}ms, 'its link leads to the basket');
is($node->safe_psql('cart', q{SELECT kind, machine, url FROM marketing.message_hits}), 'click|f|https://shop.example/cart/1', 'and tells of it');
pass_time($node, 'cart', '2099-06-03 12:01+00');
is(mails($node, 'cart'), 'cart_mail to 42, cart_sms to 42, cart_coupon to 42', 'a coupon for her');
like($node->safe_psql('cart', q{SELECT string_agg(gate || ' ' || verdict, ', ' ORDER BY n) FROM marketing.why_not_sent(43, 'cart_sms')}), qr/address no/, 'why 43 got none');
# Her order, for which it was; then baskets that are changed (it begins anew), bought, emptied, left at night.
$node->safe_psql('cart', q{INSERT INTO orders (customer_id, cart_id, created_at, total) VALUES (42, 1, '2099-06-03 12:01+00', 2000)});
$node->safe_psql('cart', q{SELECT marketing.set_clock('2099-06-10 12:00+00'); INSERT INTO carts (customer_id, updated_at, item_count, url) SELECT 42, '2099-06-10 12:00+00', 1, 'https://shop.example/c' FROM generate_series(3, 3)});
pass_time($node, 'cart', '2099-06-10 12:30+00');
$node->safe_psql('cart', q{UPDATE carts SET updated_at = '2099-06-10 12:30+00', item_count = 2 WHERE id = 3});
pass_time($node, 'cart', '2099-06-10 13:15+00');
unlike(mails($node, 'cart'), qr/coupon to 42, cart_mail/, 'a change begins the hour anew');
$node->safe_psql('cart', q{INSERT INTO orders (customer_id, cart_id, created_at, total) VALUES (42, 3, '2099-06-10 13:15+00', 5)});
pass_time($node, 'cart', '2099-06-10 14:00+00');
$node->safe_psql('cart', q{INSERT INTO carts (customer_id, updated_at, item_count) VALUES (42, '2099-06-10 14:00+00', 1)});
pass_time($node, 'cart', '2099-06-10 14:30+00');
$node->safe_psql('cart', q{UPDATE carts SET item_count = 0 WHERE id = 4});
pass_time($node, 'cart', '2099-06-10 19:00+00');
is(mails($node, 'cart'), 'cart_mail to 42, cart_sms to 42, cart_coupon to 42', 'what is bought or emptied is not asked for');
$node->safe_psql('cart', q{INSERT INTO carts (customer_id, updated_at, item_count) VALUES (42, '2099-06-10 19:00+00', 1)});
pass_time($node, 'cart', '2099-06-11 05:59+00');
unlike(mails($node, 'cart'), qr/coupon to 42, cart_mail/, 'not at night');
pass_time($node, 'cart', '2099-06-11 06:00+00');
like(mails($node, 'cart'), qr/coupon to 42, cart_mail to 42$/, 'but at nine');
is($node->safe_psql('cart', q{SELECT string_agg(reason, ', ' ORDER BY enrollment_id) FROM marketing_internal.enrollment WHERE state = 'exited' AND key IN ('3', '4')}),
	'restarted, order_placed, no cart_updated where (id = entry.id)', 'what ended them');
is($node->safe_psql('cart', q{SELECT contacts FROM marketing.journey_status('abandoned_cart') WHERE kind = 'goal'}), '2', 'and her orders are what it was for');
is(web_stop($web), 0, 'the endpoint ends');

# 6 broadcast A/B: the test at ten where each lives, four hours later the winner, for the rest at the next ten o'clock.
$db = job_shop($node, 'black_friday', '2026-11-26 12:00+00');
$node->safe_psql($db, <<'END');
INSERT INTO customers (id, first_name, email, tz, newsletter_ok)
	SELECT i, 'C' || i, 'c' || i || '@shop.example', CASE WHEN i % 2 = 0 THEN 'Europe/Istanbul' ELSE 'America/New_York' END, CASE WHEN i % 10 > 0 THEN true END FROM generate_series(1001, 1400) AS i;
INSERT INTO orders (customer_id, created_at, total) SELECT i, '2026-11-25 12:00+00', 5 FROM generate_series(1001, 1020) AS i;
CALL marketing.work();
SELECT marketing.define_segment('engaged', $$ id > 1000 $$);
END
my $preview = job($node, $db, '6_broadcast');
like($preview, qr/^gets it\|\|342\ndoes not get it\|consent for offers\/email is unknown\|38$/m, 'what it says before');
like($preview, qr/^black_friday: launched to 380 contacts; \d+ of them are in the test$/m, 'and when it is launched');
pass_time($node, $db, "2026-11-27 $_:00+00") foreach '06', '07', '10', '15';
my $tested = $node->safe_psql($db, q{SELECT count(*) FROM marketing.messages WHERE state = 'sent'});
cmp_ok($tested, '>', 40, 'the test is sent');
cmp_ok($tested, '<', 110, 'to a fifth');
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT m.step || ' ' || m.template, ', ' ORDER BY m.step || ' ' || m.template) FROM marketing_internal.message_log AS m WHERE state = 'sent'}), 'test a bf_a, test b bf_b', 'in two variants');
$node->safe_psql($db, q{INSERT INTO orders (customer_id, created_at, total) SELECT c.contact::bigint, '2026-11-27 16:00+00', 9 FROM marketing_internal.message_log AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id WHERE m.step = 'test b' AND m.state = 'sent'});
pass_time($node, $db, '2026-11-27 18:59+00');
is($node->safe_psql($db, 'SELECT state, winner FROM marketing.broadcasts'), 'testing|', 'nobody looks before the horizon');
pass_time($node, $db, '2026-11-27 19:00+00');
is($node->safe_psql($db, 'SELECT state, winner FROM marketing.broadcasts'), 'sending|b', 'those of b ordered');
pass_time($node, $db, "2026-11-28 $_:00+00") foreach '06', '07', '14', '15';
is($node->safe_psql($db, q{SELECT count(*), count(DISTINCT contact_id) FROM marketing_internal.message_log WHERE state = 'sent'}), '342|342', 'everybody got it, once');
is($node->safe_psql($db, q{SELECT string_agg(DISTINCT (m.settled_at AT TIME ZONE c.time_zone)::time(0)::text || ' ' || m.template, ', ') FROM marketing_internal.message_log AS m JOIN marketing.contacts AS c ON c._contact_id = m.contact_id WHERE m.step = 'winner b' AND m.state = 'sent'}),
	'10:00:00 bf_b', 'the rest the winner, at ten on his own wall');

# 4 birthday: at nine o'clock where she lives, and once more a week later if she has not ordered.
$db = job_shop($node, 'birthday', '2026-05-16 12:00+00');
$node->safe_psql($db, <<'END');
INSERT INTO customers VALUES (44, 'Ana', 'ana@shop.example', NULL, 'America/Sao_Paulo', '1996-05-17', true, NULL),
	(45, 'Eva', 'eva@shop.example', NULL, 'Europe/Berlin', '2000-02-29', true, NULL), (46, 'Ida', 'ida@shop.example', NULL, 'Europe/Berlin', NULL, true, NULL);
END
job($node, $db, '4_birthday');
pass_time($node, $db, '2026-05-17 05:59+00');
is(mails($node, $db), '', 'nobody before nine');
pass_time($node, $db, '2026-05-17 06:00+00');
pass_time($node, $db, '2026-05-17 12:00+00');
is(mails($node, $db), 'birthday to 42, birthday to 44', 'each at his own nine');
$node->safe_psql($db, q{INSERT INTO orders (customer_id, created_at, total) VALUES (42, '2026-05-20 12:00+00', 5)});
pass_time($node, $db, '2026-05-24 12:01+00');
is(mails($node, $db), 'birthday to 42, birthday to 44, birthday_reminder to 44', 'who has not ordered is reminded');
pass_time($node, $db, '2027-02-28 08:00+00');
is(mails($node, $db), 'birthday to 42, birthday to 44, birthday_reminder to 44, birthday to 45', '29 February in a common year; 43, who has no consent, got none');
like($node->safe_psql($db, q{SELECT string_agg(gate || ' ' || verdict || ': ' || coalesce(detail, ''), ', ' ORDER BY n) FROM marketing.why_not_sent(46, 'birthday')}), qr/birth_date is null/, 'why 46 gets none');

# 5 lead score and hand-off: who is hot by a definition is on the list; who gets hot is a task.
$db = job_shop($node, 'lead', '2026-06-01 12:00+00');
$node->safe_psql($db, <<'END');
INSERT INTO site_events (name, customer_id, at) SELECT 'page_viewed', 42, timestamptz '2026-05-31 10:00+00' + i * interval '1 minute' FROM generate_series(1, 15) AS i;
INSERT INTO site_events (name, customer_id, at) VALUES ('form_submitted', 42, '2026-06-01 12:00+00'), ('store_visited', 42, '2026-06-01 12:00+00'),
	('store_visited', 42, '2026-05-02 12:00+00'), ('store_visited', 43, '2026-06-01 12:00+00');
INSERT INTO customers (id, first_name, email, tz) VALUES (44, 'Zeynep', 'zeynep@shop.example', 'Europe/Istanbul'), (45, 'Elif', 'elif@shop.example', 'Europe/Istanbul');
END
my $lead = job($node, $db, '5_leads', qr/^0 (psql:<stdin>:\d+: NOTICE:.*gives no points yet.*)?$/s);
like($lead, qr/^42\|lead\|5[0-9.]+\|hot\|\|fair \+30/m, 'she who filled in the form and came by is ready for sales');
like($lead, qr/^42: accepted by leyla\n43: rejected$/m, 'sales has answered');
like($lead, qr/^fair\|store_visited\|.*\|20\|20\|.*^page\|page_viewed\|.*\|over at_most$/ms, 'and why');
is($node->safe_psql($db, q{SELECT string_agg(contact || ' ' || owner, ' ') FROM marketing.sales_ready WHERE model = 'lead'}), '42 leyla', 'the other one is not');
# The worker has computed the new model.
$node->safe_psql($db, 'CALL marketing.work()');
$node->safe_psql($db, q{INSERT INTO site_events (name, customer_id, at) SELECT 'store_visited', c, '2026-06-01 12:00+00' FROM unnest('{44,45}'::int[]) AS c, generate_series(1, 3)});
# Late rows of before the rejection are no new reasons.
$node->safe_psql($db, q{INSERT INTO site_events (name, customer_id, at) SELECT 'store_visited', 43, '2026-06-01 11:00+00' FROM generate_series(1, 3)});
pass_time($node, $db, '2026-06-01 12:01+00');
is($node->safe_psql($db, q{SELECT string_agg(format('%s: %s, %s, %s', contact, title, owner, due_at), '; ' ORDER BY contact) FROM marketing.tasks}),
	'44: call Zeynep, leyla, 2026-06-01 16:01:00+00; 45: call Elif, leyla, 2026-06-01 16:01:00+00', 'who gets hot is to be called, and nobody else');
is($node->safe_psql($db, q{SELECT string_agg(contact, ' ' ORDER BY contact) FROM marketing.sales_ready WHERE model = 'lead'}), '42 44 45', 'who was rejected does not come back for the same reasons');
$node->safe_psql($db, q{SELECT marketing.accept_lead(44), marketing.complete_task(task, 'reached') FROM marketing.tasks WHERE contact = '44'});
pass_time($node, $db, '2026-06-02 12:02+00');
is($node->safe_psql($db, q{SELECT string_agg(format('%s %s', template, state), ', ') FROM marketing.messages}), 'sla_missed sent', 'one lead was not accepted within a day');
like($node->safe_psql($db, q{SELECT convert_from(pg_read_binary_file(detail), 'UTF8') FROM marketing.messages WHERE template = 'sla_missed'}),
	qr/^To: leyla\@shop\.example.*Elif/ms, 'which its owner is told');
is($node->safe_psql($db, q{SELECT string_agg(contact || ' ' || coalesce(result, 'open'), ', ' ORDER BY contact) FROM marketing.tasks}), '44 reached, 45 open', 'the tasks say so');
$node->safe_psql($db, q{INSERT INTO site_events (name, customer_id, at) SELECT 'store_visited', 43, '2026-06-02 12:02+00' FROM generate_series(1, 3)});
is($node->safe_psql($db, q{SELECT count(*) FROM marketing.sales_ready WHERE contact = '43'}), '1', 'new reasons bring back who was rejected');

# 8 why did 42 not get it? The third version of the journey of job 2; 42 has said nothing of mails, and has no number for texts.
$db = job_shop($node, 'why', '2099-06-01 12:00+00');
$node->safe_psql($db, q{SELECT marketing.define_segment('discount_sensitive', 'any order_placed where (total < 20)')});
job($node, $db, '2_abandoned_cart', qr/^0 /);
$node->safe_psql($db, <<'END');
SELECT marketing.define_journey('abandoned_cart', (SELECT definition || format('{"description": "%s"}', i)::jsonb FROM marketing.journey_versions('abandoned_cart') ORDER BY version DESC LIMIT 1)),
	marketing.activate_journey('abandoned_cart') FROM generate_series(2, 3) AS i;
UPDATE customers SET newsletter_ok = NULL, phone = NULL WHERE id = 42;
INSERT INTO carts (id, customer_id, updated_at, item_count, url) VALUES (17, 42, '2099-06-01 12:00+00', 2, 'https://shop.example/cart/17');
END
pass_time($node, $db, '2099-06-01 13:00+00');
my $answer = job($node, $db, '8_why');
like($answer, qr/^0\|ANSWER\|\|\|skipped: consent for offers\/email is unknown\|marketing\.subscribe\(\)/, 'the answer');
like($answer, qr/^4\|entry\|ok\|2099-06-01 12:00:00\+00\|cart_updated #\d+, carts\.id = 17\|$/m, 'what let her in');
like($answer, qr/^11\|branch\|ok\|2099-06-01 13:00:00\+00\|step cart_mail, version 3\|$/m, 'how far she came');
like($answer, qr/^13\|topic consent\|no\|2099-06-01 13:00:00\+00\|offers\/email unknown \(newsletter_ok is null\)\|marketing\.subscribe\(\)/m, 'what is missing, since when, and what to do');
is(join(' ', $answer =~ /^(\d+)\|/mg), '0 1 2 3 4 10 11 12 13', 'gate by gate, up to the one that is shut');
like($answer, qr/^2099-06-01 13:00:00\+00\|message\|email skipped\|cart_mail #\d+: consent for offers\/email is unknown$/m, 'and all that was mailed to her');

# The test of a journey that the README shows, word for word; its ASSERTs are the test.
$db = job_shop($node, 'shown');
$node->safe_psql($db, q{INSERT INTO customers (id, first_name, email, tz, newsletter_ok) VALUES (44, 'Zeynep', 'zeynep@shop.example', 'Europe/Istanbul', true),
	(45, 'Elif', 'elif@shop.example', 'Europe/Istanbul', true)});
my ($shown) = slurp_file("$ENV{MA_TEST_DIR}/schema/tree/README.md") =~ /^### Testing a journey\n.*?^```\n(.*?)^```\n/ms;
my ($shown_out, $shown_err) = ('', '');
is($node->psql($db, $shown, stdout => \$shown_out, stderr => \$shown_err, on_error_stop => 1), 0, 'the test of the README runs as it stands there') or diag($shown_err);
like($shown_out, qr/^45\|miss_you\|.*^44\|last_notice\|/ms, 'and shows who got what');
(my $wrong = $shown) =~ s/'miss_you offer last_notice'/'miss_you'/;
$wrong =~ s/^CREATE PROCEDURE.*(?=^DO \$\$)//ms;
isnt($node->psql($db, $wrong, on_error_stop => 1, stderr => \$shown_err), 0, 'it can fail');

$node->stop;
done_testing();

# 150_jobs.pl
#
# The jobs users do (test/jobs), run as they type them, with their outcome: what was sent to whom,
# who is in which list and segment, what the answers and the links of messages do. Of jobs 1, 2 and 5 it is
# what this version can do: their messages, asked for by send_message(), and scores.
use strict;
use warnings;
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

# 1 welcome with double opt-in: its messages and their links. Its journey has a goal, which journeys do not know yet.
my $web = web_shop('welcome');
like(job($node, 'welcome', '1_messages'), qr/^newsletter\/email: pending$/m, 'who signs up is to confirm');
my ($ayse) = $node->safe_psql('welcome', q{SELECT contact FROM marketing.contacts WHERE email = 'ayse@example.com'});
is($ayse, 'subscribers:1', 'a subscriber of her own');
send_now('welcome', $ayse, 'welcome');
is($node->safe_psql('welcome', q{SELECT state, reason FROM marketing.messages}), 'skipped|consent for newsletter/email is not confirmed yet', 'she is not welcomed before');
send_now('welcome', $ayse, 'confirm');
my ($confirm) = mail_of($node, 'welcome', $ayse, 'confirm') =~ m{<a href="http://127\.0\.0\.1:$web->{port}(/confirm/[-_A-Za-z0-9]+)">Yes, sign me up</a>};
my $state = q{SELECT state FROM marketing.consent_state WHERE topic = 'newsletter'};
is((web_ask($web, 'GET', $confirm))[0] . ' ' . $node->safe_psql('welcome', $state), '200 pending', 'a scanner that fetches the link confirms nothing');
is((web_ask($web, 'POST', $confirm, ''))[0] . ' ' . $node->safe_psql('welcome', $state), '200 opted_in', 'the button does');
is($node->safe_psql('welcome', q{SELECT string_agg(state || ' ' || source || ' ' || coalesce(proof::text, ''), ', ' ORDER BY change) FROM marketing.consent_change WHERE topic = 'newsletter'}),
	'pending subscribe {"form": "footer", "text": "v3"}, opted_in confirm ', 'the ledger has both, with the proof');
foreach my $mail (['welcome', 5], ['best_content', 6])
{
	$node->safe_psql('welcome', "SELECT marketing.set_clock('2026-06-01 12:0$mail->[1]+00')");
	send_now('welcome', $ayse, $mail->[0]);
}
is(mails($node, 'welcome'), 'confirm to subscribers:1, welcome to subscribers:1, best_content to subscribers:1', 'now she is written to');
my $welcome = mail_of($node, 'welcome', $ayse, 'welcome');
like($welcome, qr/<h1>Our shop.*…/s, 'in the layout of the shop') or diag($welcome);
my ($leave) = $welcome =~ m{List-Unsubscribe: <http://127\.0\.0\.1:$web->{port}(/u/[-_A-Za-z0-9]+)>};
my ($click) = mail_of($node, 'welcome', $ayse, 'best_content') =~ m{href="http://127\.0\.0\.1:$web->{port}(/c/[-_A-Za-z0-9]+)"};
$node->safe_psql('welcome', q{SELECT marketing.set_clock('2026-06-01 12:10+00')});
my ($status, $headers) = web_ask($web, 'GET', $click, undef, $browser);
like("$status $headers", qr{^302 .*^Location: https://shop\.example/best\r?$}ms, 'the tracked link leads where it says');
is($node->safe_psql('welcome', 'SELECT kind, machine FROM marketing.message_hits'), 'click|f', 'and tells of it');
is((web_ask($web, 'POST', $leave, 'List-Unsubscribe=One-Click'))[0], 200, 'one click');
send_now('welcome', $ayse, 'feedback');
is($node->safe_psql('welcome', q{SELECT state, reason FROM marketing.messages WHERE template = 'feedback'}), 'skipped|consent for newsletter/email is withdrawn', 'ends it');
is(web_stop($web), 0, 'the endpoint ends');

# 2 abandoned cart: its messages and their links, likewise.
$web = web_shop('cart');
job($node, 'cart', '2_messages');
$node->safe_psql('cart', <<'END');
INSERT INTO carts (customer_id, updated_at, item_count, url) VALUES (42, '2026-06-01 11:00+00', 2, 'https://shop.example/cart/1'), (43, '2026-06-01 11:00+00', 1, 'https://shop.example/cart/2');
INSERT INTO cart_items (cart_id, title, qty, price) VALUES (1, 'Shoe & sock', 2, 12.5), (1, 'Hat', 1, 1999), (2, 'Bag', 1, 5);
END
my %entry = map { $_ => $node->safe_psql('cart', "SELECT jsonb_build_object('entry', to_jsonb(c)) FROM carts AS c WHERE customer_id = $_") } 42, 43;
send_now('cart', 42, 'cart_mail', $entry{42});
like(mail_of($node, 'cart', 42, 'cart_mail'), qr{<li>2 x Shoe &amp; sock, .*12[.,]50.*</li><li>1 x Hat, .*1[.,]999[.,]00.*</li></ul>}, 'the mail has the lines of the basket');
send_now('cart', $_, 'cart_sms', $entry{$_}) foreach 42, 43;
is($node->safe_psql('cart', q{SELECT contact, state FROM marketing.messages WHERE template = 'cart_sms' ORDER BY 1}), "42|sent\n43|skipped", 'a text for her who has a number and wants it');
($click) = mail_of($node, 'cart', 42, 'cart_sms') =~ m{"text": "Ayşe, sepetin bekliyor: http://127\.0\.0\.1:$web->{port}(/c/[-_A-Za-z0-9]+)"};
$node->safe_psql('cart', q{SELECT marketing.set_clock('2026-06-01 12:10+00')});
($status, $headers) = web_ask($web, 'GET', $click, undef, $browser);
like("$status $headers", qr{^302 .*^Location: https://shop\.example/cart/1\r?$}ms, 'its link leads to the basket');
is($node->safe_psql('cart', q{SELECT kind, machine, url FROM marketing.message_hits}), 'click|f|https://shop.example/cart/1', 'and tells of it');
like($node->safe_psql('cart', q{SELECT string_agg(gate || ' ' || verdict, ', ' ORDER BY n) FROM marketing.why_not_sent(43, 'cart_sms')}), qr/address no/, 'why 43 got none');
is(web_stop($web), 0, 'the endpoint ends');

# 5 lead score: its model and rules; owners, tasks and the hand-off are none yet.
$db = job_shop($node, 'lead', '2026-06-01 12:00+00');
$node->safe_psql($db, <<'END');
INSERT INTO site_events (name, customer_id, at) SELECT 'page_viewed', 42, timestamptz '2026-05-31 10:00+00' + i * interval '1 minute' FROM generate_series(1, 15) AS i;
INSERT INTO site_events (name, customer_id, at) VALUES ('form_submitted', 42, '2026-06-01 12:00+00'), ('store_visited', 42, '2026-06-01 12:00+00'),
	('store_visited', 42, '2026-05-02 12:00+00'), ('store_visited', 43, '2026-06-01 12:00+00');
END
my $lead = job($node, $db, '5_scores', qr/^0 (psql:<stdin>:\d+: NOTICE:.*gives no points yet.*)?$/s);
like($lead, qr/^42\|lead\|5[0-9.]+\|hot\|fair \+30/m, 'she who filled in the form and came by is ready for sales');
like($lead, qr/^fair\|store_visited\|.*\|20\|20\|.*^page\|page_viewed\|.*\|over at_most$/ms, 'and why');
is($node->safe_psql($db, q{SELECT string_agg(contact, ' ') FROM marketing.sales_ready WHERE model = 'lead'}), '42', 'the other one is not');

$node->stop;
done_testing();

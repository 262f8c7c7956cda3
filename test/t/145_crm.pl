# 145_crm.pl
#
# A CRM hears by signed webhooks of leads that get hot, that sales accepts, and of stages that change:
# each once, with what sales wants to know, tried again under one identifier while the CRM cannot take it,
# and what it refuses for good makes the journey go another way. Beside it a mail to the lead's owner, who
# is no contact: no test, no link to unsubscribe, no picture that tells of openings.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;
use MaMail;

my $db = 'postgres';
my $secret = 'correct-horse-battery-staple';
my $credentials = PostgreSQL::Test::Utils::tempdir();
my $node = new_server('crm', conf => "max_worker_processes = 16\n"
	  . "marketing_automation.credentials_directory = '$credentials'");
my $peer = start_peer('http_server.py');

append_to_file("$credentials/crm_key", "$secret\n");
chmod(0400, "$credentials/crm_key");
mail_shop($node, 6);
$node->safe_psql($db, qq{
	CREATE SERVER crm FOREIGN DATA WRAPPER marketing_http OPTIONS (preset 'webhook', url 'http://127.0.0.1:$peer->{port}/hook',
		password_file 'crm_key', allow_http 'true', allow_private 'true', body '{{ message.text }}');
	SELECT marketing.define_sender('crm', channel => 'webhook', server => 'crm', from_address => 'shop');
	SELECT marketing.define_sender('mailer', channel => 'email', from_address => 'hello\@shop.example');
});
$node->safe_psql($db, q{
	ALTER TABLE customers ADD name text;
	UPDATE customers SET name = CASE id WHEN 3 THEN 'do-status/500' WHEN 4 THEN 'do-status/410' ELSE 'Ada "' || id || '"' END;
	SELECT marketing.declare_event('asked');
	SELECT marketing.define_owner('leyla', email => 'leyla@shop.example', team => 'calls');
	SELECT marketing.define_score_model('lead', half_life => '30 days', thresholds => '{"hot": 50}');
	SELECT marketing.define_score_rule('lead', 'asked', 'asked', 60);
	SELECT marketing.define_hand_off('lead', 'hot', assign => 'leyla');
	SELECT marketing.define_stage('customer', 20);
	SELECT marketing.define_query('lead', $$ SELECT round(score) AS score, reasons FROM marketing.sales_ready WHERE contact = $1::text AND model = 'lead' $$, params => '{contact.id}');
	SELECT marketing.define_template('crm_hot', topic => 'transactional', channel => 'webhook',
		text => '{"type": "lead.hot", "id": {{ contact.id | json }}, "name": {{ contact.name | json }}, "model": {{ entry.model | json }}, "score": {{ lead[0].score | json }}, "why": {{ lead[0].reasons | json }}}');
	SELECT marketing.define_template('crm_taken', topic => 'transactional', channel => 'webhook', text => '{"type": "lead.accepted", "id": {{ contact.id | json }}, "by": {{ entry.by | json }}}');
	SELECT marketing.define_template('crm_stage', topic => 'transactional', channel => 'webhook', text => '{"type": "stage", "id": {{ contact.id | json }}, "to": {{ entry.to | json }}}');
	SELECT marketing.define_template('your_lead', topic => 'offers', subject => 'Call {{ contact.name }}', html => '<p><a href="https://crm.shop.example/{{ contact.id }}">Open</a></p>');
	SELECT marketing.define_journey('crm_hot', $${"entry": {"event": "score_threshold_reached", "where": "model = 'lead' and threshold = 'hot'"}, "reentry": "after_exit",
		"steps": [{"webhook": "crm_hot", "otherwise": [{"task": "Tell the CRM by hand", "assign": "leyla"}, {"exit": "refused"}]}]}$$);
	SELECT marketing.define_journey('crm_taken', $${"entry": {"event": "lead_accepted"}, "reentry": "always",
		"steps": [{"webhook": "crm_taken"}, {"send": "your_lead", "to": "owner", "otherwise": [{"exit": "no mail"}]}, {"exit": "told"}]}$$);
	SELECT marketing.define_journey('crm_stage', $${"entry": {"event": "stage_changed"}, "reentry": "always", "steps": [{"webhook": "crm_stage"}]}$$);
	SELECT marketing.activate_journey(j) FROM unnest('{crm_hot,crm_taken,crm_stage}'::text[]) AS j;
});

# Waits until so many requests of a type and contact have come; the last of them.
sub heard
{
	my ($type, $id, $n) = @_;
	my @found;

	for (my $try = 0; $try < 10 * $PostgreSQL::Test::Utils::timeout_default; $try++)
	{
		@found = grep { my $body = eval { decode_json($_->{body}) } || {}; ($body->{type} // '') eq $type && ($body->{id} // 0) == $id } ledger_of($peer);
		last if @found >= $n;
		select(undef, undef, undef, 0.1);
	}
	cmp_ok(scalar @found, '>=', $n, "$type of $id came");
	return $found[-1];
}

sub times_heard
{
	my ($type, $id) = @_;
	return scalar grep { my $body = eval { decode_json($_->{body}) } || {}; ($body->{type} // '') eq $type && ($body->{id} // 0) == $id } ledger_of($peer);
}

# -- a lead gets hot: once, signed, with what sales wants to know
$node->safe_psql($db, q{SELECT marketing.track(1, 'asked')});
my $request = heard('lead.hot', 1, 1);
my $body = $request->{body};
is_deeply(decode_json($body), { type => 'lead.hot', id => 1, name => 'Ada "1"', model => 'lead', score => 60, why => 'asked +60' }, 'who, how hot, why');
my $headers = $request->{headers};
my $signature = hmac_sha256_base64("$headers->{'webhook-id'}.$headers->{'webhook-timestamp'}.$body", $secret);
$signature .= '=' while length($signature) % 4;
is($headers->{'webhook-signature'}, "v1,$signature", 'signed with the key of ours');

# -- sales takes it; the owner gets a mail, which is no test and of which nothing is followed
ok($node->poll_query_until($db, q{SELECT owner = 'leyla' FROM marketing.sales_ready WHERE contact = '1'}), 'it has an owner');
$node->safe_psql($db, q{SELECT marketing.accept_lead(1, by => 'leyla')});
is(decode_json(heard('lead.accepted', 1, 1)->{body})->{by}, 'leyla', 'who took it');
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE template = 'your_lead' AND state = 'sent'}), 'the owner got a mail');
is($node->safe_psql($db, q{SELECT contact IS NULL, owner_of, test_for IS NULL, address, journey, step FROM marketing.messages WHERE template = 'your_lead'}),
	't|1|t|leyla@shop.example|crm_taken|your_lead', 'it is the owner\'s, about the contact');
my $mail = $node->safe_psql($db, q{SELECT replace(replace(convert_from(pg_read_binary_file(detail), 'UTF8'), E'=\r\n', ''), '=3D', '=') FROM marketing.messages WHERE template = 'your_lead'});
like($mail, qr/^Subject: Call Ada "1"/m, 'rendered for the contact');
unlike($mail, qr/X-MA-Test/i, 'no test');
unlike($mail, qr/^List-Unsubscribe/mi, 'nothing to unsubscribe from');
unlike($mail, qr{/[oc]/[A-Za-z0-9_-]{20}}, 'neither opening nor link is followed');
like($mail, qr{https://crm\.shop\.example/1}, 'the link is as it was written');
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.explain_enrollment(1, 'crm_taken') WHERE what = 'exited' AND detail = 'told'}), 'the run went on when the mail was sent');

# -- a stage changes
$node->safe_psql($db, q{SELECT marketing.set_stage(2, 'customer')});
is(decode_json(heard('stage', 2, 1)->{body})->{to}, 'customer', 'to which stage');

# -- the CRM has an error: it is tried again, under the same identifier
$node->safe_psql($db, q{SELECT marketing.track(3, 'asked')});
heard('lead.hot', 3, 1);
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.messages WHERE template = 'crm_hot' AND contact = '3' AND state = 'deferred'}), 'it waits for another try');
$node->safe_psql($db, q{UPDATE marketing_internal.message SET next_at = now() WHERE state = 'deferred'});
heard('lead.hot', 3, 2);
my %ids = map { $_->{headers}{'webhook-id'} => 1 } grep { $_->{body} =~ /do-status\/500/ } ledger_of($peer);
is(scalar keys %ids, 1, 'all tries bear one identifier');
is($node->safe_psql($db, q{SELECT count(*) FROM marketing.explain_enrollment(3, 'crm_hot') WHERE what = 'exited'}), '0', 'the run waits for it');

# -- it refuses for good: the journey goes another way
$node->safe_psql($db, q{SELECT marketing.track(4, 'asked')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.tasks WHERE contact = '4' AND title = 'Tell the CRM by hand'}), 'refused: a task instead');
is(times_heard('lead.hot', 4), 1, 'and it was asked once');

# -- an owner who is suppressed: not sent, and the run takes "otherwise"
$node->safe_psql($db, q{SELECT marketing.suppress('leyla@shop.example'); SELECT marketing.accept_lead(5, by => 'leyla')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM marketing.explain_enrollment(5, 'crm_taken') WHERE what = 'exited' AND detail = 'no mail'}), 'not sent: otherwise');

# -- rejected leads tell nobody
$node->safe_psql($db, q{SELECT marketing.reject_lead(6, 'student')});
$node->safe_psql($db, q{SELECT marketing.track(6, 'asked', occurred_at => marketing.now() - interval '1 day')});
$node->safe_psql($db, q{SELECT marketing.track(2, 'asked')});
heard('lead.hot', 2, 1);
is(times_heard('lead.hot', 6), 0, 'what sales has rejected is not told again');
is(times_heard('lead.hot', 1), 1, 'and each lead once');
no_trouble($node, "the server has no complaints");
$node->stop('fast');
done_testing();

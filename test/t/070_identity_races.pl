# 070_identity_races.pl
#
# What becomes of a contact while somebody else is at it: a build that reads rows without the
# contacts' locks, a link by match whose contact is merged away, a key that another transaction makes.
use strict;
use warnings;
use Test::More;
use MaProof;

my $node = proof_server('races');
my $db = shop($node, 'shop');

sub value { return $node->safe_psql($db, $_[0]); }

# True once the session holds an address lock of match, which it takes before contacts' locks.
sub wait_for_match
{
	my ($name) = @_;
	return ok($node->poll_query_until($db, "SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
		WHERE a.application_name = '$name' AND l.locktype = 'advisory' AND l.objsubid = 4 AND l.granted"), "$name is at it");
}

# A build by the worker reads a row that somebody is changing: what that commit said counts.
run_ok($node, $db, <<'END', 'a table read anew by the worker, by another definition');
SET client_min_messages = warning;
CREATE TABLE members (id int PRIMARY KEY, email text, staff boolean);
INSERT INTO members VALUES (1, 'm1@example.com', true), (2, 'm2@example.com', false), (3, 'm3@example.com', true);
SELECT marketing.attach_contacts('members', id => 'id', email => 'email');
SET marketing_automation.build_in_call_rows = 0;
SELECT marketing.attach_contacts('members', id => 'id', email => 'email', exclude => 'staff');
END
my $writer = session($node, $db, name => 'writer');
is($writer->query('BEGIN; UPDATE members SET staff = NOT staff WHERE id < 3; SELECT marketing.flush()'), '2', 'a writer has evaluated two rows');
run_ok($node, $db, q{SET lock_timeout = '10s'; CALL marketing.work()}, 'the worker reads the table as it was before');
is($writer->query('COMMIT'), '', 'the writer commits');
value('SELECT proof.wake()');
run_ok($node, $db, 'CALL marketing.work()', 'the worker again');
is(value(q{SELECT string_agg(k.external_id || ' ' || k.excluded, ', ' ORDER BY k.external_id) FROM marketing_internal.contact_key AS k
	JOIN marketing_internal.contact_source AS s USING (source_id) WHERE s.name = 'members'}),
	'1 false, 2 true, 3 true', 'excluded is what the rows say');
is(value(q{SELECT string_agg(contact || ' ' || coalesce(email, 'none'), ', ' ORDER BY contact) FROM marketing.contacts WHERE contact LIKE 'members:%'}),
	'members:1 m1@example.com', 'so are the contacts');

# A link by match to a contact that is merged away before its lock is free.
run_ok($node, $db, <<'END', 'subscribers linked by e-mail');
SET client_min_messages = warning;
CREATE TABLE subscribers (id int PRIMARY KEY, email text);
SELECT marketing.attach_contacts('subscribers', id => 'id', email => 'email', match => 'email');
END
my $email = value(q{SELECT email FROM marketing.contacts WHERE contact = '2'});
my $gone = value(q{SELECT _contact_id FROM marketing.contacts WHERE contact = '2'});
my $merger = session($node, $db, name => 'merger');
is($merger->query(q{BEGIN; SELECT marketing.merge_contacts('1', '2')}), '1', 'a merge');
my $subscriber = session($node, $db, name => 'subscriber');
$subscriber->send("INSERT INTO subscribers VALUES (1, '$email')");
wait_for_match('subscriber');
is($merger->query('COMMIT'), '', 'the merge commits');
is($subscriber->answer, '', 'the row that would be linked to it commits');
value('SELECT proof.wake()');
run_ok($node, $db, 'CALL marketing.work()', 'the worker');
isnt(value(q{SELECT k.contact_id FROM marketing_internal.contact_key AS k JOIN marketing_internal.contact_source AS s USING (source_id) WHERE s.name = 'subscribers'}),
	$gone, 'it is not linked to a contact that is no more');
is(value(q{SELECT count(*) FROM marketing_internal.contact_merge WHERE reason = 'match'}), '0', 'no link is in the log');
is(value(q{SELECT marketing.split_contact('2')}), '2', 'the merge is taken back');
is(value(q{SELECT count(*) FROM marketing_internal.contact_key WHERE contact_id = } . $gone), '1', 'with its own id only');

# The same when identify() comes across the row first.
$gone = value(q{SELECT _contact_id FROM marketing.contacts WHERE contact = '4'});
$email = value(q{SELECT email FROM marketing.contacts WHERE contact = '4'});
run_ok($node, $db, "ALTER TABLE subscribers DISABLE TRIGGER USER; INSERT INTO subscribers VALUES (2, '$email'); ALTER TABLE subscribers ENABLE TRIGGER USER",
	'a row that nobody has seen');
is($merger->query(q{BEGIN; SELECT marketing.merge_contacts('3', '4')}), '3', 'a merge');
$subscriber->send("SELECT marketing.identify('subscribers:2')");
ok($node->poll_query_until($db, q{SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
	WHERE a.application_name = 'subscriber' AND l.locktype = 'advisory' AND NOT l.granted}), 'identify() waits for the contact');
is($merger->query('COMMIT'), '', 'the merge commits');
is($subscriber->answer, 'subscribers:2', 'identify() answers');
isnt(value(q{SELECT contact_id FROM marketing_internal.contact_key AS k JOIN marketing_internal.contact_source AS s USING (source_id)
	WHERE s.name = 'subscribers' AND k.external_id = '2'}), $gone, 'of another contact');

# A build by the worker links nobody while a merge is under way, and one in the call waits for it.
$gone = value(q{SELECT _contact_id FROM marketing.contacts WHERE contact = '6'});
$email = value(q{SELECT email FROM marketing.contacts WHERE contact = '6'});
run_ok($node, $db, <<"END", 'a table that the worker is to read');
SET client_min_messages = warning;
CREATE TABLE leads (id int PRIMARY KEY, email text);
INSERT INTO leads VALUES (1, '$email'), (2, 'c7\@example.com'), (3, 'lead\@example.com'), (4, 'lead\@example.com');
CREATE TABLE guests (id int PRIMARY KEY, email text);
INSERT INTO guests SELECT * FROM leads;
SET marketing_automation.build_in_call_rows = 0;
SELECT marketing.attach_contacts('leads', id => 'id', email => 'email', match => 'email');
END
is($merger->query(q{BEGIN; SELECT marketing.merge_contacts('5', '6')}), '5', 'a merge');
run_ok($node, $db, q{SET lock_timeout = '10s'; CALL marketing.work()}, 'the worker does not wait for it');
$subscriber->send(q{SELECT marketing.attach_contacts('guests', id => 'id', email => 'email', match => 'email')});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'subscriber' AND wait_event_type = 'Lock'}), 'attach_contacts() does');
is($merger->query('COMMIT'), '', 'the merge commits');
is($subscriber->answer, 'guests: 4 contacts; 4 with e-mail, 0 with consent for any topic; 3 linked by email', 'and answers: c7 and both of the address that leads have brought');
value('SELECT proof.wake()');
run_ok($node, $db, 'CALL marketing.work()', 'the worker');
is(value(q{SELECT count(*) FROM marketing_internal.contact_key WHERE contact_id = } . $gone), '0', 'nobody is linked to the contact that is no more');
is(value(q{SELECT count(DISTINCT contact_id) FROM marketing_internal.contact_key AS k JOIN marketing_internal.contact_source AS s USING (source_id)
	WHERE s.name IN ('leads', 'guests')}), '3', 'eight rows are three people');

# A key that somebody makes who holds no lock of it, as a build does: its contact is left to the worker.
value('CALL marketing.work()');
my $builder = session($node, $db, name => 'builder');
is($builder->query(q{BEGIN; WITH new AS (INSERT INTO marketing_internal.contact (email) VALUES ('c70@example.com') RETURNING contact_id)
	INSERT INTO marketing_internal.contact_key (source_id, external_id, contact_id) SELECT source_id, '70', contact_id
	FROM new, marketing_internal.contact_source WHERE name = 'customers'}), '', 'a build makes a key');
my $customer = session($node, $db, name => 'customer');
$customer->send("INSERT INTO customers (id, email) VALUES (70, 'new70\@example.com')");
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'customer' AND wait_event_type = 'Lock'}), 'a commit waits for it');
is($builder->query('COMMIT'), '', 'the build commits');
is($customer->answer, '', 'the row commits');
is(dirty($node, $db), '1', 'and is left to the worker');
exact($node, $db, 'which makes it right', left => 1);
is(value(q{SELECT email FROM marketing.contacts WHERE contact = '70'}), 'new70@example.com', 'with the row as it is');

$_->close for $writer, $merger, $subscriber, $builder, $customer;
no_crash($node);
$node->stop;
done_testing();

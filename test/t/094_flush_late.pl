# 094_flush_late.pl: a contact that the budget of a commit does not reach, after the commit has taken
# his key away, is left to the worker as a contact. By his key nobody would find him any more.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('late');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'marketing_automation'\nmarketing_automation.databases = ''");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION marketing_automation;
	CREATE TABLE customers (id int PRIMARY KEY);
	CREATE TABLE orders (id int PRIMARY KEY, customer_id int, at timestamptz);
	INSERT INTO customers SELECT generate_series(1, 5);
	INSERT INTO orders SELECT i, i, '2020-01-01' FROM generate_series(1, 5) AS i;
	SELECT marketing.attach_contacts('customers', id => 'id');
	SELECT marketing.attach_events('orders', event => 'ordered', contact => 'customer_id', contact_source => 'customers', occurred_at => 'at');
	SELECT marketing_internal.define_counter('ordered', 'ordered');
	CALL marketing.work()});
is($node->safe_psql('postgres', 'SELECT count(*) FROM marketing_internal.contact_counter'), '5', 'all have ordered');

# No time at all: the first contact is evaluated, the others are late.
$node->safe_psql('postgres', q{SET marketing_automation.sync_wait = 0; DELETE FROM customers});
is($node->safe_psql('postgres', 'SELECT count(*) FROM marketing_internal.contact_key'), '0', 'the keys are gone');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM marketing_internal.contact_counter AS s
	WHERE s.contact_id NOT IN (SELECT d FROM marketing_internal.dirty_contacts() AS d WHERE d IS NOT NULL)}),
	'0', 'whose state is behind is known to be');
is($node->safe_psql('postgres', q{SELECT count(*) FROM marketing_internal.counter_values('ordered')}), '0', 'reads are exact');
$node->safe_psql('postgres', 'CALL marketing.work()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM marketing_internal.contact_counter'), '0', 'and the worker finds them');
is($node->safe_psql('postgres', 'SELECT count(*) FROM marketing_internal.dirty'), '0', 'nothing waits');
$node->stop;
done_testing();

# 027_worker_upgrade.pl
#
# pg_upgrade passes with the library preloaded on both sides (here between two clusters of one
# version: the workers must keep out of both), the new cluster has its scheduler, and an armed
# database comes out disarmed, since the cluster is another one.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $db = 'shop';
my $old = new_server('old');
my $bin = $old->config_data('--bindir');

$old->safe_psql('postgres', 'CREATE DATABASE shop');
$old->safe_psql($db, 'CREATE EXTENSION marketing_automation');
wait_scheduler($old, $db, 'the old cluster has a scheduler');
$old->safe_psql($db, 'CREATE TABLE customers (id int PRIMARY KEY, email text);
	INSERT INTO customers VALUES (1, \'a@example.com\')');
$old->safe_psql($db, q{SELECT marketing.attach_contacts('customers', id => 'id', email => 'email')});
$old->safe_psql($db, 'SELECT marketing.arm()');
my $contacts = $old->safe_psql($db, 'SELECT contact_id, email FROM marketing_internal.contact');
isnt($contacts, '', 'it has a contact');
$old->stop;

my $new = new_server('new', stopped => 1);
chdir($new->basedir) or die "could not change directory: $!";
command_ok(
	[
		'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-b', $bin, '-B', $bin,
		'-s', $new->host, '-p', $old->port, '-P', $new->port
	],
	'pg_upgrade');
$new->start;
wait_scheduler($new, $db, 'the new cluster has a scheduler');
work_goes_on($new, $db, 'which works');
is($new->safe_psql($db, 'SELECT contact_id, email FROM marketing_internal.contact'), $contacts, 'the contact is there');
is(status_of($new, $db, 'delivery', 'value'), 'disarmed', 'the database is disarmed');
$new->safe_psql($db, 'SELECT marketing.arm()');
is(status_of($new, $db, 'delivery', 'value'), 'armed', 'and can be armed again');
no_trouble($new, 'nothing crashed or failed');
$new->stop;
done_testing();

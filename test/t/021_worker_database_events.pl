# 021_worker_database_events.pl
#
# Statements that need a database empty succeed while a scheduler works there, from whatever
# database they are given, and workers come back when the statement fails or is over.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $node = new_server('dbevents');
my $db = 'postgres';

sub shop
{
	my ($name) = @_;
	$node->safe_psql($db, "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION marketing_automation');
	return wait_scheduler($node, $name, "$name has a scheduler");
}

# The statement must not even wait for the five seconds that PostgreSQL grants to others.
sub succeeds
{
	my ($statement, $message, $from) = @_;
	my ($out, $err);
	my $code = $node->psql($from // $db, $statement, stdout => \$out, stderr => \$err);
	is($code, 0, $message) or diag($err);
}

# postgres has no extension: the statements come from a database without it.
shop('plain');
succeeds('DROP DATABASE plain', 'DROP DATABASE');
shop('forced');
succeeds('DROP DATABASE forced WITH (FORCE)', 'DROP DATABASE ... WITH (FORCE)');
shop('renamed');
succeeds('ALTER DATABASE renamed RENAME TO shop', 'ALTER DATABASE ... RENAME');
my $pid = wait_scheduler($node, 'shop', 'the scheduler comes back under the new name');
work_goes_on($node, 'shop', 'and works');

succeeds('CREATE DATABASE copy TEMPLATE shop', 'CREATE DATABASE ... TEMPLATE');
wait_new_scheduler($node, 'shop', $pid, 'the scheduler of the template comes back');
wait_scheduler($node, 'copy', 'the copy has one too');
work_goes_on($node, 'copy', 'which works');

# In the database itself: it is its own template.
succeeds('CREATE DATABASE second_copy TEMPLATE shop', 'CREATE DATABASE ... TEMPLATE from the template itself', 'shop');
wait_scheduler($node, 'second_copy', 'the second copy has a scheduler');
wait_scheduler($node, 'shop', 'and so has the template');

my $where = PostgreSQL::Test::Utils::tempdir();
succeeds("CREATE TABLESPACE elsewhere LOCATION '$where'", 'a tablespace');
succeeds('ALTER DATABASE shop SET TABLESPACE elsewhere', 'ALTER DATABASE ... SET TABLESPACE');
wait_scheduler($node, 'shop', 'the scheduler comes back');
work_goes_on($node, 'shop', 'and works');

# Swapping names in one transaction.
succeeds('BEGIN; ALTER DATABASE shop RENAME TO old; ALTER DATABASE copy RENAME TO shop; COMMIT', 'names swapped in one transaction');
wait_scheduler($node, 'shop', 'scheduler of the first');
wait_scheduler($node, 'old', 'scheduler of the second');

# A statement that fails: the scheduler comes back.
$pid = scheduler_of($node, 'shop');
isnt($node->psql($db, 'ALTER DATABASE shop RENAME TO old'), 0, 'RENAME to a name in use fails');
wait_new_scheduler($node, 'shop', $pid, 'a new scheduler after the failure');
$pid = scheduler_of($node, 'shop');
isnt($node->psql('shop', 'DROP DATABASE shop'), 0, 'a database cannot drop itself');
wait_scheduler($node, 'shop', 'its scheduler is there afterwards');

# A savepoint takes the statement back: the scheduler does not wait for the end of the transaction.
my $session = $node->background_psql('shop');
$pid = scheduler_of($node, 'shop');
$session->query_safe('BEGIN; SAVEPOINT a; DROP EXTENSION marketing_automation; ROLLBACK TO a');
wait_new_scheduler($node, 'shop', $pid, 'a new scheduler while the transaction is open');
$session->query_safe('COMMIT');
$session->quit;

# Whoever does not own the database cannot stop its workers.
$node->safe_psql($db, 'CREATE ROLE stranger LOGIN CREATEDB; CREATE ROLE shopkeeper LOGIN CREATEDB; ALTER DATABASE old OWNER TO shopkeeper');
wait_scheduler($node, 'shop', 'a scheduler');
$pid = scheduler_of($node, 'shop');
isnt($node->psql($db, "DROP DATABASE shop", extra_params => [ '-U', 'stranger' ]), 0, 'a stranger may not drop');
isnt($node->psql($db, "DROP DATABASE shop WITH (FORCE)", extra_params => [ '-U', 'stranger' ]), 0, 'not by force');
isnt($node->psql($db, "ALTER DATABASE shop RENAME TO mine", extra_params => [ '-U', 'stranger' ]), 0, 'nor rename');
isnt($node->psql($db, "CREATE DATABASE mine TEMPLATE shop", extra_params => [ '-U', 'stranger' ]), 0, 'nor copy');
is(scheduler_of($node, 'shop'), $pid, 'the scheduler was not disturbed');
my ($out, $err);
is($node->psql($db, 'DROP DATABASE old WITH (FORCE)', stdout => \$out, stderr => \$err, extra_params => [ '-U', 'shopkeeper' ]), 0,
	'an owner who is no superuser drops by force, though the scheduler runs as superuser') or diag($err);

# Many in a row: nothing is left behind.
for my $round (1 .. 5)
{
	$node->safe_psql($db, "CREATE DATABASE round TEMPLATE shop");
	wait_scheduler($node, 'round', "scheduler in round $round");
	succeeds('DROP DATABASE round', "dropped in round $round");
}
# Dropped while the launcher is still looking at it.
for my $round (1 .. 5)
{
	$node->safe_psql($db, "CREATE DATABASE round TEMPLATE shop");
	succeeds('DROP DATABASE round', "dropped at once in round $round");
}
wait_scheduler($node, 'shop', 'the template has its scheduler');

# ALLOW_CONNECTIONS is obeyed at the launcher's next look.
succeeds('ALTER DATABASE shop ALLOW_CONNECTIONS false', 'no more connections');
wait_no_scheduler($node, 'shop', 'and no scheduler');
succeeds('ALTER DATABASE shop ALLOW_CONNECTIONS true', 'connections again');
wait_scheduler($node, 'shop', 'and a scheduler');

no_trouble($node, 'nothing crashed or failed');
no_trouble($node, 'no worker ended with an error',
	qr/FATAL:.*(?:marketing|background worker|does not exist)|marketing_automation.*exited with exit code/);
$node->stop;
done_testing();

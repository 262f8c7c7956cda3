# 152_pg_cron.pl
#
# A journey entered by a schedule, with the real pg_cron: activating makes its job, which lets in who fits;
# activating again replaces the job, and archiving or dropping the journey takes it away.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

plan skip_all => 'postgresql-15-cron is not installed'
  unless system("test -f \$(\$PG_CONFIG --sharedir)/extension/pg_cron.control") == 0;

my $node = new_server('cron', bare => 1, conf => "shared_preload_libraries = 'pg_cron, marketing_automation'
cron.database_name = 'postgres'
cron.use_background_workers = on
max_worker_processes = 20");
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION pg_cron;
CREATE EXTENSION marketing_automation;
CREATE TABLE people (id int PRIMARY KEY, email text, vip boolean);
INSERT INTO people SELECT i, 'p' || i || '@example.com', i <= 3 FROM generate_series(1, 9) AS i;
SELECT marketing.attach_contacts('people', id => 'id', email => 'email');
SELECT marketing.define_segment('vips', 'vip');
SELECT marketing.define_journey('often', '{"entry": {"schedule": "* * * * *"}, "filter": "vip", "reentry": "once", "steps": [{"exit": "x"}]}');
SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "0 8 * * 1", "segment": "vips"}, "steps": [{"wait": "1 day"}]}');
END
is($node->safe_psql('postgres', q{SELECT marketing.activate_journey(j) FROM unnest('{often,weekly}'::text[]) AS j}),
	"often: version 1 is active\nweekly: version 1 is active", 'activated');
my $jobs = 'SELECT jobname, schedule, command FROM cron.job ORDER BY 1';
is($node->safe_psql('postgres', $jobs), "marketing journey often|* * * * *|SELECT marketing.enter_scheduled('often')\n"
	. "marketing journey weekly|0 8 * * 1|SELECT marketing.enter_scheduled('weekly')", 'their jobs');

# Those of the segment, also by hand; who is inside already is refused as ever.
is($node->safe_psql('postgres', q{SELECT marketing.enter_scheduled('weekly')}), 'weekly: contacts that ask to enter: 3', 'by hand');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM marketing_internal.enrollment WHERE journey_id = 2}), 'they are in');

# The minute comes: the filter says who.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM marketing_internal.enrollment WHERE journey_id = 1}), 'pg_cron lets in who fits')
  or diag($node->safe_psql('postgres', 'SELECT * FROM cron.job_run_details'));
is($node->safe_psql('postgres', q{SELECT DISTINCT detail FROM marketing_internal.enrollment_log WHERE what = 'entered'}), 'schedule', 'and their story says so');

# Another version: the job is replaced.  A wrong schedule is an error, and all is as before.
$node->safe_psql('postgres', q{SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "0 9 * * 2", "segment": "vips"}, "steps": [{"wait": "1 day"}]}')});
$node->safe_psql('postgres', q{SELECT marketing.activate_journey('weekly')});
is($node->safe_psql('postgres', "SELECT schedule FROM cron.job WHERE jobname LIKE '%weekly'"), '0 9 * * 2', 'replaced');
$node->safe_psql('postgres', q{SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "99 9 * * 2", "segment": "vips"}, "steps": [{"wait": "1 day"}]}')});
my ($out, $err);
isnt($node->psql('postgres', q{SELECT marketing.activate_journey('weekly')}, stdout => \$out, stderr => \$err), 0, 'a schedule that is none');
like($err, qr/invalid schedule/, 'is pg_cron\'s to refuse');
is($node->safe_psql('postgres', "SELECT schedule FROM cron.job WHERE jobname LIKE '%weekly'"), '0 9 * * 2', 'and the job is as it was');

$node->safe_psql('postgres', q{SELECT marketing.archive_journey('weekly'), marketing.drop_journey('often')});
is($node->safe_psql('postgres', $jobs), '', 'archived and dropped: no job is left');

# With the extension its jobs go, whoever made them and whoever drops it; those of others stay.  A role without
# a right on the schema cron activates what has no schedule.
$node->safe_psql('postgres', q{
	CREATE ROLE planner LOGIN;
	CREATE ROLE guest LOGIN;
	GRANT USAGE ON SCHEMA marketing TO planner, guest;
	GRANT EXECUTE ON FUNCTION marketing.activate_journey, marketing.enter_scheduled TO planner, guest;
	GRANT SELECT ON people TO planner, guest;
	GRANT USAGE ON SCHEMA cron TO planner;
	SELECT cron.schedule('marketing journey of mine', '0 0 1 1 *', 'SELECT 1');
	SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "0 8 * * 1", "segment": "vips"}, "steps": [{"wait": "1 day"}]}');
	SELECT marketing.define_journey('plain', '{"steps": [{"wait": "1 day"}]}');
});
is($node->safe_psql('postgres', q{SELECT marketing.activate_journey('plain')}, extra_params => [ '-U', 'guest' ]), 'plain: version 1 is active', 'no right on pg_cron is needed where it is not used');
$node->safe_psql('postgres', q{SELECT marketing.activate_journey('weekly')}, extra_params => [ '-U', 'planner' ]);
is($node->safe_psql('postgres', 'SELECT jobname, username FROM cron.job ORDER BY 1'), "marketing journey of mine|postgres\nmarketing journey weekly|planner", 'the job of another role');
$node->safe_psql('postgres', 'DROP EXTENSION marketing_automation');
is($node->safe_psql('postgres', 'SELECT jobname FROM cron.job'), 'marketing journey of mine', 'is gone with the extension');

# Elsewhere pg_cron is not: a clear error.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION marketing_automation;
	SELECT marketing.define_segment('all', 'email is not null');
	SELECT marketing.define_journey('weekly', '{"entry": {"schedule": "0 8 * * 1", "segment": "all"}, "steps": [{"wait": "1 day"}]}')});
isnt($node->psql('other', q{SELECT marketing.activate_journey('weekly')}, stdout => \$out, stderr => \$err), 0, 'where there is no pg_cron');
like($err, qr/needs pg_cron.*\n.*postgresql-15-cron.*cron\.database_name/, 'the error says what to do');
$node->stop('fast');
done_testing();

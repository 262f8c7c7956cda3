# 160_journey_schema.pl
#
# doc/journey.schema.json says what the parser takes: its keys are the parser's, and of definitions (those
# of the tests, and variants of them that are wrong somewhere) it refuses those whose form the parser refuses.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $tool = "$ENV{MA_TEST_DIR}/schema/journeys.py";
my $top = "$ENV{MA_TEST_DIR}/schema/tree";

my ($out, $err);
ok(IPC::Run::run([ 'python3', $tool, 'keys', $top ], '>', \$out, '2>', \$err), 'the keys of the schema are those of the parser')
	or diag($out . $err);

SKIP:
{
	skip 'python3-jsonschema is not there', 5 unless IPC::Run::run([ 'python3', '-c', 'import jsonschema' ], '2>', \$err);
	my $n = $ENV{SCHEMA_VARIANTS} || 1500;
	my $cases;
	ok(IPC::Run::run([ 'python3', $tool, 'cases', $top, $n ], '>', \$cases, '2>', \$err), 'definitions are judged by the schema')
		or diag($err);
	my $node = new_server('schema');
	$node->safe_psql('postgres', q{
		CREATE EXTENSION marketing_automation;
		CREATE TABLE cases (variant boolean, valid boolean, definition jsonb);
	});
	my $file = "$PostgreSQL::Test::Utils::tmp_check/journey_cases.txt";
	append_to_file($file, $cases);
	$node->safe_psql('postgres', "\\copy cases FROM '$file'");
	$node->safe_psql('postgres', q{
		CREATE TABLE judged AS SELECT c.*, p.problems FROM cases AS c CROSS JOIN LATERAL (
			SELECT array_agg(place || ': ' || problem) AS problems FROM marketing.check_journey(c.definition) WHERE kind = 'form'
			-- A key or step that is twice, or not there, is beyond a schema; so are sums, and days there are not.
			AND problem !~ 'needs an entry with a key|there is no (send|step) with the id|another (step|one)|together|no variant|same template|not a date|no time zone|same time|no time at all|not a duration|alone and last|"event" or "if"') AS p;
	});
	is($node->safe_psql('postgres', 'SELECT definition FROM judged WHERE NOT valid AND problems IS NULL AND NOT EXISTS (
		SELECT FROM marketing.check_journey(definition) WHERE kind = $$form$$) LIMIT 3'), '', 'what the schema refuses the parser refuses');
	is($node->safe_psql('postgres', 'SELECT definition, problems FROM judged WHERE valid AND problems IS NOT NULL LIMIT 3'), '',
		'what the parser refuses the schema refuses');
	is($node->safe_psql('postgres', 'SELECT count(*) > 100, bool_and(problems IS NULL) FROM judged WHERE NOT variant AND valid'), 't|t',
		'definitions of the tests are valid');
	is($node->safe_psql('postgres', 'SELECT count(*) FILTER (WHERE valid) > 50, count(*) FILTER (WHERE NOT valid) > 500 FROM judged WHERE variant'), 't|t',
		'of the variants some are valid and most are not');
	$node->stop('fast');
}
done_testing();

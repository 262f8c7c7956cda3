# 161_broadcast_schema.pl
#
# doc/broadcast.schema.json says what the parser takes: its keys are the parser's, and of definitions (those
# of the tests, and variants of them that are wrong somewhere) it refuses those whose form the parser refuses.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MaWorkers;

my $tool = "$ENV{MA_TEST_DIR}/schema/broadcasts.py";
my $top = "$ENV{MA_TEST_DIR}/schema/tree";

my ($out, $err);
ok(IPC::Run::run([ 'python3', $tool, 'keys', $top ], '>', \$out, '2>', \$err), 'the keys of the schema are those of the parser')
	or diag($out . $err);

SKIP:
{
	skip 'python3-jsonschema is not there', 5 unless IPC::Run::run([ 'python3', '-c', 'import jsonschema' ], '2>', \$err);
	my $n = $ENV{SCHEMA_VARIANTS} || 1000;
	my $cases;
	ok(IPC::Run::run([ 'python3', $tool, 'cases', $top, $n ], '>', \$cases, '2>', \$err), 'definitions are judged by the schema')
		or diag($err);
	my $node = new_server('schema');
	# The error of define_broadcast() has a line for each problem; what is about names and rules is no form.
	$node->safe_psql('postgres', q{
		CREATE EXTENSION marketing_automation;
		CREATE TABLE cases (variant boolean, valid boolean, definition jsonb);
		CREATE FUNCTION problems(definition jsonb) RETURNS text[] LANGUAGE plpgsql AS $$
		DECLARE
			told text;
		BEGIN
			PERFORM marketing.define_broadcast('b', definition);
			RETURN NULL;
		EXCEPTION WHEN SQLSTATE 'MA050' THEN
			GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
			RETURN (SELECT array_agg(line) FROM regexp_split_to_table(told, '\n') AS line
				WHERE line ~ ': (must|needs|is missing|belongs|there is no key|the same|is the same|there is no variant|a variant|".*" is not? )|^needs');
		END $$;
	});
	my $file = "$PostgreSQL::Test::Utils::tmp_check/broadcast_cases.txt";
	append_to_file($file, $cases);
	$node->safe_psql('postgres', "\\copy cases FROM '$file'");
	$node->safe_psql('postgres', q{
		CREATE TABLE judged AS SELECT c.*, p.problems, (SELECT array_agg(x) FROM unnest(p.problems) AS x
			-- What is twice, or not there, is beyond a schema; so are days there are not and times too long.
			WHERE x !~ 'there is no variant|is the same template|not a date and a time|no time at all|not a duration') AS plain
		FROM cases AS c CROSS JOIN LATERAL (SELECT problems(c.definition)) AS p (problems);
	});
	is($node->safe_psql('postgres', 'SELECT definition FROM judged WHERE NOT valid AND problems IS NULL LIMIT 3'), '', 'what the schema refuses the parser refuses');
	is($node->safe_psql('postgres', 'SELECT definition, plain FROM judged WHERE valid AND plain IS NOT NULL LIMIT 3'), '',
		'what the parser refuses the schema refuses');
	is($node->safe_psql('postgres', 'SELECT count(*) FILTER (WHERE valid AND problems IS NULL) > 10, count(*) FILTER (WHERE valid <> (problems IS NULL)) FROM judged WHERE NOT variant'), 't|0',
		'of the definitions of the tests both take the same');
	is($node->safe_psql('postgres', 'SELECT count(*) FILTER (WHERE valid) > 50, count(*) FILTER (WHERE NOT valid) > 300 FROM judged WHERE variant'), 't|t',
		'of the variants some are valid and most are not');
	$node->stop('fast');
}
done_testing();

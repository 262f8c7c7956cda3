-- marketing.help() tells of everything there is, and of nothing else.
CREATE EXTENSION marketing_automation;
SELECT marketing.help();
SELECT marketing.help('trouble');
SELECT marketing.help('TRACK') LIMIT 1;
SELECT marketing.help('journey') LIMIT 1;
SELECT marketing.help('evnts');
SELECT marketing.help('zzzzzz');
-- Each function and view is in a topic.
CREATE TEMPORARY TABLE told AS
	SELECT (regexp_match(line, '^(?:view )?marketing\.(\w+)'))[1] AS name
	FROM marketing.help() AS t (about), marketing.help(nullif(split_part(about, ' ', 1), '')) AS line
	WHERE about ~ '^[a-z]+ +[a-z]' ;
SELECT proname AS not_told FROM pg_proc WHERE pronamespace = 'marketing'::regnamespace
	AND proname NOT IN (SELECT name FROM told WHERE name IS NOT NULL)
UNION
SELECT relname FROM pg_class WHERE relnamespace = 'marketing'::regnamespace AND relkind = 'v'
	AND relname NOT IN (SELECT name FROM told WHERE name IS NOT NULL);
SELECT name, count(*) FROM told WHERE name IS NOT NULL GROUP BY name HAVING count(*) > 1;
DROP EXTENSION marketing_automation;

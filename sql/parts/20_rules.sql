-- 20_rules: the rule language: views that hold dependencies, and helpers around single rules.

CREATE TABLE marketing_internal.rule_view (
	view_name text PRIMARY KEY,
	kind text NOT NULL,
	object text NOT NULL
);
COMMENT ON TABLE marketing_internal.rule_view IS
	'Views in schema marketing_rule: each live rule owns one, which holds its dependencies. The trigger binds them to the extension, also as a dump is restored.';

CREATE FUNCTION marketing_internal.rule_views_bind() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_rule_views_bind';
COMMENT ON FUNCTION marketing_internal.rule_views_bind() IS
	'Makes the rule views go with the extension when it is dropped.';

CREATE TRIGGER rule_views_bind AFTER INSERT ON marketing_internal.rule_view
	FOR EACH STATEMENT EXECUTE FUNCTION marketing_internal.rule_views_bind();
COMMENT ON TRIGGER rule_views_bind ON marketing_internal.rule_view IS
	'Fires as a dump is restored, too: the dump knows nothing of the binding.';

CREATE FUNCTION marketing_internal.rule_text(rule text, time_zone text DEFAULT NULL, entry_event text DEFAULT NULL) RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_text_sql';
COMMENT ON FUNCTION marketing_internal.rule_text(text, text, text) IS
	'The rule in canonical form, or an error that says where it is wrong. entry_event: the event entry.x is a row of, as in a journey.';

CREATE FUNCTION marketing_internal.rule_sql(rule text, time_zone text DEFAULT NULL, entry_event text DEFAULT NULL, entry jsonb DEFAULT NULL) RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_sql_sql';
COMMENT ON FUNCTION marketing_internal.rule_sql(text, text, text, jsonb) IS
	'Plain SQL for the rule: contact_id of every contact for whom it is true at marketing.now().';

CREATE FUNCTION marketing_internal.rule_truth(rule text, time_zone text, instant timestamptz, contact_ids bigint[],
	entry_event text DEFAULT NULL, entry jsonb DEFAULT NULL)
	RETURNS TABLE (contact_id bigint, truth boolean, until timestamptz)
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_truth_sql';
COMMENT ON FUNCTION marketing_internal.rule_truth(text, text, timestamptz, bigint[], text, jsonb) IS
	'Truth of the rule at the instant (null: marketing.now()) for the contacts, as the evaluator sees it, and until when it holds if no row changes.';

CREATE FUNCTION marketing.rule_json(rule text) RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_json_sql';
COMMENT ON FUNCTION marketing.rule_json(text) IS
	'A rule as JSON: an object for each condition, whose key says which it is (doc/rules.md lists them). Every function that takes a rule takes its JSON as well. Errors: MA020 and those of names that do not exist, with the place in the text.';

CREATE FUNCTION marketing.rule_text(rule jsonb) RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_text_from_json';
COMMENT ON FUNCTION marketing.rule_text(jsonb) IS
	'The text of a rule given as JSON, as marketing.segment_rule() prints it. Errors: MA020 with the path in the JSON, and those of names that do not exist.';

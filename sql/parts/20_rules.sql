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

CREATE FUNCTION marketing_internal.rule_text(rule text, time_zone text DEFAULT NULL) RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_text_sql';
COMMENT ON FUNCTION marketing_internal.rule_text(text, text) IS
	'The rule in canonical form, or an error that says where it is wrong.';

CREATE FUNCTION marketing_internal.rule_sql(rule text, time_zone text DEFAULT NULL) RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_sql_sql';
COMMENT ON FUNCTION marketing_internal.rule_sql(text, text) IS
	'Plain SQL for the rule: contact_id of every contact for whom it is true at marketing.now().';

CREATE FUNCTION marketing_internal.rule_truth(rule text, time_zone text, instant timestamptz, contact_ids bigint[])
	RETURNS TABLE (contact_id bigint, truth boolean, until timestamptz)
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_rule_truth_sql';
COMMENT ON FUNCTION marketing_internal.rule_truth(text, text, timestamptz, bigint[]) IS
	'Truth of the rule at the instant (null: marketing.now()) for the contacts, as the evaluator sees it, and until when it holds if no row changes.';

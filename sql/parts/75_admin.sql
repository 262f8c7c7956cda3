-- 75_admin: the first look.

CREATE FUNCTION marketing_internal.capture_status()
	RETURNS TABLE (item text, state text, value text, detail text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_capture_status';
COMMENT ON FUNCTION marketing_internal.capture_status() IS
	'Rows of marketing.status about attached tables, the logs and what commits left to the worker.';

CREATE VIEW marketing.status AS
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.worker_status() AS s
	UNION ALL
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.capture_status() AS s;
COMMENT ON VIEW marketing.status IS
	'The first look: workers, delivery, attached tables, queues, errors. state is ok, note, warning or error; detail says what to do.';

CREATE VIEW marketing.errors AS
	SELECT 'change'::text AS what, d.error_state AS sqlstate, d.error AS message, d.attempts, d.retry_at,
		CASE WHEN d.contact_id IS NOT NULL THEN marketing_internal.contact_text(d.contact_id)
			ELSE d.external_id END AS object
	FROM marketing_internal.dirty AS d
	WHERE d.error IS NOT NULL
	UNION ALL
	SELECT 'row', c.error_state, c.error, c.attempts, c.retry_at, c.row_key
	FROM marketing_internal.capture_row AS c
	WHERE c.error IS NOT NULL;
COMMENT ON VIEW marketing.errors IS
	'Changes that could not be evaluated and rest before the next try, with SQLSTATE and message.';

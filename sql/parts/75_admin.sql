-- 75_admin: the first look.

CREATE FUNCTION marketing_internal.capture_status()
	RETURNS TABLE (item text, state text, value text, detail text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_capture_status';
COMMENT ON FUNCTION marketing_internal.capture_status() IS
	'Rows of marketing.status about attached tables, the logs and what commits left to the worker.';

CREATE FUNCTION marketing_internal.delivery_status()
	RETURNS TABLE (item text, state text, value text, detail text)
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_delivery_status';
COMMENT ON FUNCTION marketing_internal.delivery_status() IS
	'Rows of marketing.status about the servers that senders name: what is wrong with them, and what waits.';

CREATE VIEW marketing.status AS
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.worker_status() AS s
	UNION ALL
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.capture_status() AS s
	UNION ALL
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.segment_status() AS s
	UNION ALL
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.stage_status() AS s
	UNION ALL
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.journeys_status() AS s
	UNION ALL
	SELECT s.item, s.state, s.value, s.detail FROM marketing_internal.delivery_status() AS s;
COMMENT ON VIEW marketing.status IS
	'The first look: workers, delivery, attached tables, queues, errors. state is ok, note, warning or error; detail says what to do.';

CREATE VIEW marketing.errors AS
	SELECT CASE WHEN e.event_source_id IS NOT NULL THEN 'link' WHEN e.source_id IS NOT NULL THEN 'id'
			ELSE 'contact' END AS what,
		CASE WHEN e.source_id IS NOT NULL
				THEN s.name OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) e.external_id
			WHEN e.event_source_id IS NOT NULL
				THEN a.table_name OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) e.external_id
			ELSE e.contact_id::pg_catalog.text END AS object,
		e.error_state AS sqlstate, e.error AS message, e.attempts, e.retry_at
	FROM marketing_internal.dirty AS e
	LEFT JOIN marketing_internal.contact_source AS s ON s.source_id OPERATOR(pg_catalog.=) e.source_id
	LEFT JOIN marketing_internal.event_source AS v
		ON v.event_source_id OPERATOR(pg_catalog.=) e.event_source_id
	LEFT JOIN marketing_internal.attached_table AS a ON a.table_id OPERATOR(pg_catalog.=) v.table_id
	WHERE e.error IS NOT NULL
	UNION ALL
	SELECT 'row', a.table_name OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) c.row_key,
		c.error_state, c.error, c.attempts, c.retry_at
	FROM marketing_internal.capture_row AS c
	LEFT JOIN marketing_internal.event_source AS v
		ON v.event_source_id OPERATOR(pg_catalog.=) c.event_source_id
	LEFT JOIN marketing_internal.attached_table AS a ON a.table_id OPERATOR(pg_catalog.=) v.table_id
	WHERE c.error IS NOT NULL
	UNION ALL
	SELECT 'score', m.name OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) p.contact_id::pg_catalog.text,
		p.error_state, p.error, NULL, NULL
	FROM marketing_internal.score AS p
	JOIN marketing_internal.score_model AS m ON m.model_id OPERATOR(pg_catalog.=) p.model_id
	WHERE p.error IS NOT NULL;
COMMENT ON VIEW marketing.errors IS
	'What could not be evaluated: what (id of a source, contact by _contact_id, link or row of a table, score as model:_contact_id), SQLSTATE and message; changes rest until retry_at, a score waits for the next change of the contact or the model.';

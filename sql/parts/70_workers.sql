-- 70_workers: background work done in a session, and the state of the workers.

CREATE PROCEDURE marketing.work(run_for interval DEFAULT '0')
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'ma_work';
COMMENT ON PROCEDURE marketing.work(interval) IS
	'Does the background work in this session, committing as it goes: until nothing is left, then until run_for has passed.';

CREATE FUNCTION marketing_internal.worker_status(
	OUT item text, OUT state text, OUT value text, OUT detail text)
	RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_worker_status';
COMMENT ON FUNCTION marketing_internal.worker_status() IS
	'Workers, duties, delivery authority and clock of this database; state is ok, note, warning or error.';

-- 98_missing: has CREATE EXTENSION say what is missing without preload.

CREATE FUNCTION marketing_internal.tell_unpreloaded() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_tell_unpreloaded';
SELECT marketing_internal.tell_unpreloaded();
DROP FUNCTION marketing_internal.tell_unpreloaded();

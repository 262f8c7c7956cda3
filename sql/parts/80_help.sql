-- 80_help: the table of contents.

CREATE FUNCTION marketing.help(topic text DEFAULT NULL) RETURNS SETOF text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_help';
COMMENT ON FUNCTION marketing.help(text) IS
	'Lists the topics, or shows the functions of one with an example. The name of a function finds its topic.';

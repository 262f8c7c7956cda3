-- 05_base: settings of the shop, the clock.

CREATE TABLE marketing_internal.setting (
	name text PRIMARY KEY,
	value text NOT NULL
);
COMMENT ON TABLE marketing_internal.setting IS
	'Settings of the shop, and the database''s test clock if one is set.';

CREATE FUNCTION marketing.now() RETURNS timestamptz
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_now_sql';
COMMENT ON FUNCTION marketing.now() IS
	'The time everything here goes by: the set clock of this database, else the start of the statement; never runs backwards.';

CREATE FUNCTION marketing.set_clock(at timestamptz) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_set_clock';
COMMENT ON FUNCTION marketing.set_clock(timestamptz) IS
	'Puts this database on a clock that stands still at the given time, for tests and trials; null returns to real time. Refused while delivery is armed.';

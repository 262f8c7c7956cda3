-- 05_base: settings of the shop, the clock.

CREATE TABLE marketing_internal.setting (
	name text PRIMARY KEY,
	value text NOT NULL
);
COMMENT ON TABLE marketing_internal.setting IS
	'Settings of the shop, and the database''s test clock if one is set.';

CREATE FUNCTION marketing.configure(setting text, value text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_configure';
COMMENT ON FUNCTION marketing.configure(text, text) IS
	'Sets what holds for the whole shop, such as public_url; null takes it away. It counts from the commit on, also for the workers, and is dumped with the database. marketing.settings() lists what there is. Errors: 42704 for a setting there is not, 22023 for a value it cannot have.';

CREATE FUNCTION marketing.settings() RETURNS TABLE (setting text, value text, description text)
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_settings';
COMMENT ON FUNCTION marketing.settings() IS
	'The settings of marketing.configure(), with what they are now (null: not set) and what they are for.';

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

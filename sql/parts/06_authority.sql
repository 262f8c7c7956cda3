-- 06_authority: whether this database may send to real servers.

-- Not dumped, on purpose: a restored copy, even one restored in place, is disarmed.
CREATE TABLE marketing_internal.authority (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	armed_at timestamptz NOT NULL,
	armed_by text NOT NULL,
	fingerprint text NOT NULL
);
COMMENT ON TABLE marketing_internal.authority IS
	'At most one row: who armed real delivery, when, and in which copy of the database.';
COMMENT ON COLUMN marketing_internal.authority.fingerprint IS
	'SHA-256 of where the armed database''s data lies; a copy elsewhere has another one and is disarmed.';

CREATE FUNCTION marketing.arm() RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_arm';
COMMENT ON FUNCTION marketing.arm() IS
	'Lets this database send through real servers. Holds for this copy only: a restored, cloned or moved database must be armed anew.';

CREATE FUNCTION marketing.disarm() RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_disarm';
COMMENT ON FUNCTION marketing.disarm() IS
	'Stops sending through real servers; their messages wait until marketing.arm() is called again.';

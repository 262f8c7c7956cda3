-- 19_events_api: events of attached tables, tracked events, detaching.

CREATE FUNCTION marketing.attach_events(
	relation regclass,
	event text DEFAULT NULL,
	event_column text DEFAULT NULL,
	contact text DEFAULT NULL,
	contact_source text DEFAULT NULL,
	occurred_at text DEFAULT NULL,
	time_zone text DEFAULT NULL,
	condition text DEFAULT NULL,
	repeat boolean DEFAULT false,
	value text DEFAULT NULL,
	currency text DEFAULT NULL,
	lookup jsonb DEFAULT '{}',
	via jsonb DEFAULT NULL,
	mode text DEFAULT 'sync',
	on_replica boolean DEFAULT false
) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_attach_events';
COMMENT ON FUNCTION marketing.attach_events(regclass, text, text, text, text, text, text, text, boolean, text, text, jsonb, jsonb, text, boolean) IS
	'Makes rows of a table an event: the row is the event while condition (SQL over the row) is true and the column occurred_at is not null.
relation: your table, ordinary or partitioned.
event: name of the event; a table may be attached under several. event_column: instead, the column whose value names it.
contact: the column that holds the contact''s id. contact_source: the attached contacts the id belongs to; default those its foreign key points to, else the only ones. Ids are compared as they are written, so both columns must be of one type (integers of any size, text or varchar alike; numeric and char with the same scale or length), and not of one in which equal values may be written differently, as numeric without scale, citext and interval.
occurred_at: the column that says when; of type timestamp or date it is read in time_zone (default the server''s).
repeat: whether a changed occurred_at is the event once more.
value, currency: the columns that tell goals and reports the money.
lookup: other tables by name, {"product": {"table": "products", "on": "product_id = id"}}.
via: the table that holds the contact when the row does not, {"table": "orders", "on": "order_id = id"}; contact is then a column of it.
mode: sync (evaluated at commit) or async (by the worker).
on_replica: whether rows that replication applies count too.
Calling it again with the same definition changes nothing, with another one replaces it.';

CREATE FUNCTION marketing.declare_event(name text, properties jsonb DEFAULT '{}') RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_declare_event';
COMMENT ON FUNCTION marketing.declare_event(text, jsonb) IS
	'Names a tracked event before the first one is tracked, so that rules can use it. properties: their types, {"plan": "text", "seats": "integer"}; track() refuses values that are not of them; events tracked before are not looked at.';

CREATE FUNCTION marketing.track(
	contact text,
	event text,
	properties jsonb DEFAULT '{}',
	occurred_at timestamptz DEFAULT NULL,
	dedup_key text DEFAULT NULL
) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_track';
COMMENT ON FUNCTION marketing.track(text, text, jsonb, timestamptz, text) IS
	'Records an event that has no table of yours. occurred_at: default marketing.now(). dedup_key: a second call with the same key for the same contact records nothing and returns false.';

CREATE FUNCTION marketing.track(
	contact bigint,
	event text,
	properties jsonb DEFAULT '{}',
	occurred_at timestamptz DEFAULT NULL,
	dedup_key text DEFAULT NULL
) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_track';
COMMENT ON FUNCTION marketing.track(bigint, text, jsonb, timestamptz, text) IS
	'As track(text, ...), for contacts with a number as id.';

CREATE FUNCTION marketing.track(
	contact uuid,
	event text,
	properties jsonb DEFAULT '{}',
	occurred_at timestamptz DEFAULT NULL,
	dedup_key text DEFAULT NULL
) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_track';
COMMENT ON FUNCTION marketing.track(uuid, text, jsonb, timestamptz, text) IS
	'As track(text, ...), for contacts with a uuid as id.';

CREATE FUNCTION marketing.detach(relation regclass, event text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_detach';
COMMENT ON FUNCTION marketing.detach(regclass, text) IS
	'Takes one event (its name, or the event_column) off a table; without event all events of the table and its contacts. Refused while something depends on them. The triggers go with the last definition that needs them.';

CREATE FUNCTION marketing.detach(relation text, event text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_detach_by_name';
COMMENT ON FUNCTION marketing.detach(text, text) IS
	'As detach(regclass, text), for a table by its name: also for one that was dropped, whose definitions its former owner or the owner of the extension may take off.';

CREATE FUNCTION marketing.detach_all() RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_detach_all';
COMMENT ON FUNCTION marketing.detach_all() IS
	'Takes all events and contacts off all tables; no trigger stays behind.';

-- 18_contacts_api: functions and views of contacts.
--
-- A contact is always the first argument, in three forms over one C function (85_contact_forms.sql
-- makes those of bigint and uuid): 42, '42' or a uuid is an id of the table attached first,
-- 'subscribers:42' one of the source of that name.

CREATE FUNCTION marketing.attach_contacts(
	relation regclass,
	id text,
	email text DEFAULT NULL,
	phone text DEFAULT NULL,
	time_zone text DEFAULT NULL,
	locale text DEFAULT NULL,
	consent jsonb DEFAULT '{}',
	match text DEFAULT NULL,
	exclude text DEFAULT NULL,
	source text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_attach_contacts';
COMMENT ON FUNCTION marketing.attach_contacts(regclass, text, text, text, text, text, jsonb, text, text, text) IS
	'Makes each row of a table a contact. id, email, phone, time_zone and locale are names of its columns, id a unique one of an ordered base type or an enum; consent is {"topic/channel": "column"}; match => email or phone links a row to the contact with the same address instead of making another; rows for which exclude, SQL over the row (dates in UTC), is true do not count; source is the name of the contacts'' prefix (default: the name of the table). A row whose id changes stays the same contact, unless the change moves it to another partition, which is a deleted and a new row. Run again it answers unchanged, or replaces the definition and says what changed.';

CREATE FUNCTION marketing.identify(contact text, attributes jsonb DEFAULT '{}') RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_identify';
COMMENT ON FUNCTION marketing.identify(text, jsonb) IS
	'Adds attributes to a contact (a null value removes one) and returns the contact. email, phone, time_zone, locale and push_token feed the contact''s fields where no attached row has them. A new prefix, as in web:anon-9f, makes the contact.';

CREATE FUNCTION marketing.merge_contacts(contact text, other text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_merge_contacts';
COMMENT ON FUNCTION marketing.merge_contacts(text, text) IS
	'Makes two contacts one: ids, tracked events and attributes of the other go to the contact, whose own attributes win; returns the contact. split_contact() takes it back.';

CREATE FUNCTION marketing.merge_contacts(contact bigint, other text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_merge_contacts';
COMMENT ON FUNCTION marketing.merge_contacts(bigint, text) IS
	'Makes two contacts one: ids, tracked events and attributes of the other go to the contact, whose own attributes win; returns the contact. split_contact() takes it back.';

CREATE FUNCTION marketing.merge_contacts(contact uuid, other text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_merge_contacts';
COMMENT ON FUNCTION marketing.merge_contacts(uuid, text) IS
	'Makes two contacts one: ids, tracked events and attributes of the other go to the contact, whose own attributes win; returns the contact. split_contact() takes it back.';

CREATE FUNCTION marketing.merge_contacts(contact bigint, other bigint) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_merge_contacts';
COMMENT ON FUNCTION marketing.merge_contacts(bigint, bigint) IS
	'Makes two contacts one: ids, tracked events and attributes of the other go to the contact, whose own attributes win; returns the contact. split_contact() takes it back.';

CREATE FUNCTION marketing.merge_contacts(contact uuid, other uuid) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_merge_contacts';
COMMENT ON FUNCTION marketing.merge_contacts(uuid, uuid) IS
	'Makes two contacts one: ids, tracked events and attributes of the other go to the contact, whose own attributes win; returns the contact. split_contact() takes it back.';

CREATE FUNCTION marketing.split_contact(contact text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_split_contact';
COMMENT ON FUNCTION marketing.split_contact(text) IS
	'Gives an id that came to its contact by match or by merge_contacts() back: as a contact of its own, or as the contact that was merged with all that came with it; returns that contact. Errors out (55006) while a message of a journey that would go along is being sent.';

CREATE FUNCTION marketing_internal.contact_text(contact_id bigint) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_contact_text_sql';
COMMENT ON FUNCTION marketing_internal.contact_text(bigint) IS
	'The contact in the form every function takes; null if no id of any source belongs to it.';

CREATE FUNCTION marketing_internal.contact_text_now(contact_id bigint) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'ma_contact_text_now_sql';
COMMENT ON FUNCTION marketing_internal.contact_text_now(bigint) IS
	'As contact_text(), of the contact that this one has been merged into, if it has.';

CREATE VIEW marketing.contacts AS
	SELECT k.contact, c.email, c.phone, c.time_zone, c.locale, c.attributes, c.created_at,
		c.contact_id AS _contact_id
	FROM marketing_internal.contact AS c
	CROSS JOIN LATERAL (
		SELECT (CASE WHEN k.source_id OPERATOR(pg_catalog.=) (
				SELECT pg_catalog.min(f.source_id) FROM marketing_internal.contact_source AS f
				WHERE f.table_id IS NOT NULL)
				AND pg_catalog.strpos(k.external_id, ':') OPERATOR(pg_catalog.=) 0
			THEN k.external_id
			ELSE s.name OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) k.external_id
			END) COLLATE pg_catalog."default" AS contact
		FROM marketing_internal.contact_key AS k
		JOIN marketing_internal.contact_source AS s ON s.source_id OPERATOR(pg_catalog.=) k.source_id
		WHERE k.contact_id OPERATOR(pg_catalog.=) c.contact_id AND NOT k.excluded
		ORDER BY k.source_id, k.external_id
		LIMIT 1) AS k;
COMMENT ON VIEW marketing.contacts IS
	'All contacts: the contact as functions take it, its address fields (the first attached row that has one, else identify()), attributes of identify(), and _contact_id, our own number of it.';

-- 90_grants: nobody but the owner may call anything, with few exceptions.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA marketing FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA marketing FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA marketing_internal FROM PUBLIC;

-- Partitions of attached tables are made by application roles, and the clone of
-- a row trigger needs this right; the function is inert on other tables.
GRANT EXECUTE ON FUNCTION marketing.capture() TO PUBLIC;

-- A view checks the functions in it by who reads the view: these only read, for marketing.status,
-- marketing.errors and what goes by the clock.  Nobody reaches those of marketing_internal by name without
-- USAGE on their schema.
GRANT EXECUTE ON FUNCTION marketing.now(), marketing_internal.worker_status(), marketing_internal.capture_status(),
	marketing_internal.segment_status(), marketing_internal.stage_status(), marketing_internal.journeys_status(),
	marketing_internal.delivery_status(),
	marketing_internal.contact_text(bigint), marketing_internal.contact_text_now(bigint) TO PUBLIC;

-- Likewise for marketing.sales_ready, which shows contacts: whoever may read the view may read all of it.
GRANT EXECUTE ON FUNCTION marketing_internal.score_values(text, boolean),
	marketing_internal.score_reasons(bigint, text), marketing_internal.grade_of(bigint, text), marketing_internal.lead_since(bigint, text, text, text, timestamptz) TO PUBLIC;

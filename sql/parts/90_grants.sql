-- 90_grants: nobody but the owner may call anything, with one exception.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA marketing FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA marketing FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA marketing_internal FROM PUBLIC;

-- Partitions of attached tables are made by application roles, and the clone of
-- a row trigger needs this right; the function is inert on other tables.
GRANT EXECUTE ON FUNCTION marketing.capture() TO PUBLIC;

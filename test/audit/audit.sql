\if :begun = 0
SELECT audit.begin();
\set begun 1
\endif
BEGIN ISOLATION LEVEL REPEATABLE READ;
-- TRUNCATE is not bound to snapshots: keep it out while this one is in use.
LOCK TABLE customers, subscribers, orders, order_items, page_views, clicks IN ACCESS SHARE MODE;
SELECT count(*) FROM marketing_internal.dirty;
SELECT audit.audit(:what);
COMMIT;

\set k random(1, 10)
BEGIN;
INSERT INTO orders (customer_id, status, created_at, total) SELECT i, 'bulk', clock_timestamp(), :k FROM generate_series(1, 40) AS i;
INSERT INTO page_views (customer_id, site, viewed_at) SELECT i, 3, timezone('Europe/Istanbul', clock_timestamp()) FROM generate_series(1001, 1040) AS i;
COMMIT;

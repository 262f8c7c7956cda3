\set r random(0, 2)
-- Within a twentieth of a second all sessions mean the same newcomer: one makes him, others bring events of his.
\if :r = 0
INSERT INTO customers SELECT (extract(epoch FROM clock_timestamp()) * 20)::bigint % 60 + 2000 ON CONFLICT DO NOTHING;
\else
INSERT INTO orders (customer_id, status, created_at, total)
SELECT (extract(epoch FROM clock_timestamp()) * 20)::bigint % 60 + 2000, 'new', clock_timestamp(), 1;
\endif

-- A cancel now and then, at a moment that nobody chose: the pause spreads them, and no test waits for it.
\set ms random(5, 60)
\sleep :ms ms
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'audit_target' AND state <> 'idle' ORDER BY random() LIMIT 1;

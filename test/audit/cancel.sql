\set ms random(5, 60)
\sleep :ms ms
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'audit_target' AND state <> 'idle' ORDER BY random() LIMIT 1;

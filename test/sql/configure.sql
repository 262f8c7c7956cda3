-- marketing.configure() and settings().
CREATE EXTENSION marketing_automation;
\pset null -
SELECT setting, value FROM marketing.settings() WHERE setting = 'public_url';
SELECT marketing.configure('public_url', 'https://m.shop.example/mail/');
SELECT marketing.configure('public_url', 'https://m.shop.example/mail');
SELECT setting, value FROM marketing.settings() WHERE value IS NOT NULL ORDER BY 1;
SELECT marketing.configure('public_url', 'http://m.shop.example');
SELECT marketing.configure('public_url', 'http://localhost:8480');
-- Undone with its transaction.
BEGIN;
SELECT marketing.configure('public_url', NULL);
ROLLBACK;
SELECT value FROM marketing.settings() WHERE setting = 'public_url';
SELECT marketing.configure('public_url', NULL);
SELECT marketing.configure('public_url', NULL);
SELECT marketing.configure('track_links', 'no'), marketing.configure('track_links', 'off');
SELECT marketing.configure('track_opens', 'maybe');
-- What it cannot be.
SELECT marketing.configure('public_url', 'm.shop.example');
SELECT marketing.configure('public_url', 'https://');
SELECT marketing.configure('public_url', 'https:///x');
SELECT marketing.configure('public_url', '');
SELECT marketing.configure('public_url', 'https://m.shop.example/?a=1');
SELECT marketing.configure('public_url', E'https://m.shop.example/\r\nX: y');
SELECT marketing.configure('public_url', 'https://m.shop.example/ä');
SELECT marketing.configure('public_ulr', 'https://m.shop.example');
SELECT marketing.configure('clock', '2026-01-01');
SELECT marketing.configure(NULL, 'x');
DROP EXTENSION marketing_automation;

-- links.sql: links of mails, followed with curl as readers and machines do. `make demo` runs it after demo.sql:
--
--     psql ... -d shop -v url=http://127.0.0.1:8480 -f links.sql
--
-- where marketing-web answers at that address. It speaks to PostgreSQL as a role that may call one function.
\set ON_ERROR_STOP on
\pset footer off
\pset pager off
\pset null '-'
SET client_min_messages = warning;

\echo
\echo '== 5. The links of the mails come back'

SELECT marketing.configure('public_url', :'url') AS answer;
SELECT marketing.define_topic('letter', 'Weekly letter', consent => 'double_opt_in', confirm => 'please_confirm') AS answer
UNION ALL
SELECT marketing.define_template('please_confirm', topic => 'transactional', subject => 'Please confirm',
	html => $$<p>Hello {{ contact.first_name }}, <a href="{{ confirm_url }}">yes, send me the letter</a>.</p>$$)
UNION ALL
SELECT marketing.define_template('welcome', topic => 'letter', subject => 'Welcome, {{ contact.first_name }}',
	html => $$<p>Here is <a href="https://shop.example/new">what is new</a>.</p>$$)
UNION ALL
SELECT marketing.define_template('gift', topic => 'letter', subject => 'A gift', html => $$<p>Since you had a look.</p>$$)
UNION ALL
SELECT marketing.define_segment('readers', $$ any email_clicked in 30 days $$)
UNION ALL
-- Who has confirmed is welcomed; who then follows a link gets something more.
SELECT marketing.define_journey('letter', $$ {
	"entry": {"event": "subscription_confirmed", "where": "topic = 'letter'"},
	"steps": [{"send": "welcome"},
		{"wait_until": {"event": "email_clicked", "step": "welcome"}, "timeout": "7 days", "else": [{"exit": "did not look"}]},
		{"send": "gift"}]} $$)
UNION ALL
SELECT marketing.activate_journey('letter');

CREATE PROCEDURE pg_temp.wait_until(condition text, what text)
LANGUAGE plpgsql AS $$
DECLARE
	late timestamptz := clock_timestamp() + coalesce(current_setting('demo.patience', true), '30 seconds')::interval;
	holds boolean;
BEGIN
	LOOP
		EXECUTE format('SELECT %s', condition) INTO holds;
		COMMIT;
		EXIT WHEN holds;
		IF clock_timestamp() > late THEN
			RAISE EXCEPTION '% did not come in time', what;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
-- The first link of the mail that begins with the address of the endpoint and this folder.
CREATE FUNCTION pg_temp.link(mail text, folder text) RETURNS text
LANGUAGE sql AS $$
	SELECT substring(regexp_replace(replace(replace(pg_read_file(detail), E'=\r\n', ''), '=2D', '-'), '=3D', '=', 'g')
		FROM 'href="(http[^"]*/' || folder || '/[-_A-Za-z0-9]+)"')
	FROM marketing.messages WHERE template = mail AND contact = '9007' AND state = 'sent' $$;
CREATE FUNCTION pg_temp.consent() RETURNS text
LANGUAGE sql AS $$ SELECT state FROM marketing.consent_state WHERE contact = '9007' AND topic = 'letter' $$;

-- Defne (9007) fills in the form below the shop's pages.
SELECT marketing.subscribe(9007, 'letter', proof => '{"form": "footer", "text": "v3"}') AS "Defne signs up for the letter";
CALL pg_temp.wait_until($$ pg_temp.link('please_confirm', 'confirm') IS NOT NULL $$, 'the mail that asks her to confirm');
SELECT pg_temp.link('please_confirm', 'confirm') AS link \gset
\setenv LINK :link
\set get `curl -s -o /dev/null -w '%{http_code}' "$LINK"`
SELECT pg_temp.consent() AS after_get \gset
\set post `curl -s -o /dev/null -w '%{http_code}' -X POST -d '' "$LINK"`
\echo 'The link of the mail that asks her to confirm:' :link
SELECT * FROM (VALUES ('GET: a scanner of her mail fetches the link, which shows a page', :'get', :'after_get'),
	('POST: she presses the button of that page', :'post', pg_temp.consent())) AS t ("curl", "status", "her consent");
\echo 'What the ledger says of it:'
SELECT topic, channel, state, source, proof FROM marketing.consent_change WHERE contact = '9007' AND topic = 'letter' ORDER BY change;

CALL pg_temp.wait_until($$ pg_temp.link('welcome', 'c') IS NOT NULL $$, 'the welcome');
SELECT pg_temp.link('welcome', 'c') AS link \gset
\setenv LINK :link
\setenv BROWSER 'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0'
\set machine `curl -s -o /dev/null -w '%{http_code} %{redirect_url}' "$LINK"`
SELECT marketing.in_segment(9007, 'readers') AS machine_reads \gset
-- Within two seconds of the sending nobody has read anything.
CALL pg_temp.wait_until($$ (SELECT now() > since + interval '2.1 seconds' FROM marketing.messages
	WHERE template = 'welcome' AND contact = '9007' AND state = 'sent') $$, 'a moment');
\set person `curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -A "$BROWSER" "$LINK"`
\echo 'The link of the welcome that came at once:' :link
SELECT * FROM (VALUES ('a machine follows it', :'machine', :'machine_reads'::bool), ('Defne does', :'person', marketing.in_segment(9007, 'readers')))
	AS t ("curl", "answer", "in segment readers");
SELECT kind, url, machine, verdict FROM marketing.message_hits WHERE contact = '9007' ORDER BY occurred_at;
CALL pg_temp.wait_until($$ EXISTS (SELECT FROM marketing.messages WHERE template = 'gift' AND state = 'sent') $$, 'the gift');
\echo 'Her journey went on with the click:'
SELECT template, state, since::time(1) AS at FROM marketing.messages WHERE contact = '9007' AND template IN ('please_confirm', 'welcome', 'gift') ORDER BY since;

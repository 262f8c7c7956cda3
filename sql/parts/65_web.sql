-- 65_web: what the links in messages do, for marketing-web or a web server of one's own.

CREATE FUNCTION marketing.web_request(
	method text,
	path text,
	headers jsonb DEFAULT '{}',
	content bytea DEFAULT NULL,
	address inet DEFAULT NULL,
	OUT status int,
	OUT content_type text,
	OUT location text,
	OUT page bytea)
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_web_request';
COMMENT ON FUNCTION marketing.web_request(text, text, jsonb, bytea, inet) IS
	'Answers a request to a link of a message: what marketing-web calls for each, and what a web server of your own may call. path: behind public_url, without a query. headers: texts by their names in lower case. content: of a POST. address: of the client. GET and HEAD change no consent: they show a page with a button, POST acts, also for the one-click of RFC 8058. Pages are the snippet web_page, if you define it, else plain ones. What is not a link of ours gets status 404. Errors: 22023 if headers is not an object.';

CREATE FUNCTION marketing.hook_url(server text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'ma_hook_url';
COMMENT ON FUNCTION marketing.hook_url(text) IS
	'Where a provider is to tell what became of messages (its web hook): an address of marketing-web that nobody can guess. server: a name for what is told, as that of the foreign server. Understood are the events of SendGrid, Mailgun, Postmark and Amazon SES (by SNS), whether the messages went there by SMTP or by HTTP, and {"events": [{"id", "kind", "message", "recipient", "status", "detail", "occurred_at"}]}, with the values of record_delivery_event(). Where the foreign server of this name has the options hook_signed_by and hook_key_file, what is told must bear that signature, else it is refused with 403. Errors: 42602 for a name that cannot stand in an address.';

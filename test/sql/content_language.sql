-- The template language: values, filters, tags, errors with their place, escaping by context, bounds.
CREATE EXTENSION marketing_automation;
\set SHOW_CONTEXT never
SET client_min_messages = notice;
SET timezone = 'UTC';

CREATE FUNCTION try(source text, data jsonb DEFAULT '{}', escape text DEFAULT 'none') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	RETURN marketing.render_liquid(source, data, escape);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', sqlstate, sqlerrm, nullif(detail, ''), nullif(hint, ''));
END $$;

-- Numbers keep the digits of the data; the fast reader agrees with numeric_out().
SELECT try('{{ a }} {{ b }} {{ c }} {{ d }} {{ e }}', '{"a": 12.50, "b": 7, "c": -0.05, "d": 123456789012345678901234567890.5, "e": 1e5}');
SELECT count(*) AS wrong FROM (
	SELECT n, try('{{ n }}', jsonb_build_object('n', n)) AS shown FROM (
		SELECT (sign * (g * 7919 % 1000003))::numeric / power(10::numeric, s) AS n
		FROM generate_series(0, 400) AS g, generate_series(0, 9) AS s, unnest('{1,-1}'::int[]) AS sign
		UNION ALL SELECT round(g::numeric * 100000007, s) FROM generate_series(0, 50) AS g, generate_series(-4, 9) AS s
		UNION ALL SELECT unnest('{0,0.0,0.00000001,9999,10000,99999999,100000000,999999999999,1000000000000,9223372036854775807,9223372036854775808,-1,0.1,100.10,10000.0001}'::numeric[])) AS x) AS y
WHERE shown IS DISTINCT FROM n::text;
SELECT try('{{ 9223372036854775807 | plus: 1 }} {{ "3" | plus: 4 }} {{ 7 | divided_by: 2 }} {{ -7 | divided_by: 2 }} {{ -7 | modulo: 3 }} {{ 7 | divided_by: 2.0 }} {{ 10.1 | minus: 2.2 }} {{ 1.005 | round: 2 }} {{ 15 | round: -1 }}');
-- A decimal as an argument of whole digits reads no memory behind itself.
SELECT try('{% for i in (1..300) %}{% assign a = i | times: 777777777777 | append: "7777777777777777777777" %}{% endfor %}{{ 5.666 | round: 1.2 }}');
SELECT try('{{ p | money: "EUR" }} {{ p | money: "EUR", "de" }} {{ p | money: "TRY", "tr" }} {{ p | money: "XYZ", "fr-FR" }} {{ p | number }} {{ p | number: 1, "de-CH" }} {{ n | money: "USD" }}', '{"p": 1234567.5, "n": -3}');
SELECT try('{{ a.size }} {{ a[1] }} {{ a[-1].x }} {{ o["k k"] }} {{ o.size }} {{ nothing.at.all }} {{ o | json }} {{ [name] }}', '{"a": [1, 2, {"x": "y"}], "o": {"k k": null, "b": [true, 1.50, "\""]}, "name": "a"}');

-- Dates in the session's zone.
SELECT try('{{ at | date: "%Y-%m-%d %H:%M:%S %z %Z" }} {{ at | date: "%-d %B %y, %l %P" }} {{ day | date: "%a %e %b %j %U %V" }} {{ 0 | date: "%s %F %T" }} {{ "soon" | date: "%Y" }} {{ at | date: "" }}', '{"at": "2026-03-29T00:30:00+00:00", "day": "2026-01-05"}');
SET timezone = 'Europe/Berlin';
SELECT try('{{ at | date: "%Y-%m-%d %H:%M %z %Z" }} {{ at | date: "%::z %^a %Q %" }}', '{"at": "2026-03-29T00:30:00+00:00"}');
SELECT marketing.set_clock('2026-07-01 12:00+00');
SELECT try('{{ "now" | date: "%F %T" }}');
SELECT marketing.set_clock(NULL);
SET timezone = 'UTC';

-- Escaping by the place in the HTML.
SELECT try('<p title="{{ x }}">{{ x }}</p>', '{"x": "<a href=\"1\">''&"}', 'html');
SELECT try('<p title="{{ x }}">{{ x }}</p>', '{"x": "<a href=\"1\">''&"}', 'none');
SELECT try('<p>{{ x | raw }} {{ x | escape }} {{ x | upcase | raw }} {{ x | append: "!" }}</p>', '{"x": "<b>"}', 'html');
SELECT try('{% capture c %}<i>{{ x }}</i>{% endcapture %}{{ c }} {{ y | newline_to_br }}', '{"x": "<b>", "y": "a<\nb"}', 'html');
SELECT try('<a href="{{ u }}">{{ u }}</a>', jsonb_build_object('u', u), 'html')
	FROM unnest(ARRAY['https://a.example/?b=1&c="x"', 'javascript:alert(1)', ' JaVa' || chr(9) || 'script:alert(1)', 'data:text/html,x', '/path with blank', 'mailto:a@b.example', 'myshop://x', '#top', 'vbscript:x']) AS u;
SELECT try('<a href="https://a.example/{{ p }}?q={{ q }}&r={{ q | url_encode }}">', '{"p": "x y/ü", "q": "a&b=c d/é\""}', 'html');
SELECT try('<p class={{ x }} {{ y }}>', '{"x": "a onclick=b", "y": "onload=z"}', 'html');
SELECT try('<script>var a = "{{ x }}";</script><style>p { color: {{ y }} }</style><p style="width: {{ w }}px" onclick="f(''{{ x }}'')">{{ x }}', '{"x": "</script>\"+alert(1)+''", "y": "red; } body { background: url(x)", "w": 12}', 'html');
SELECT try('<!-- {{ x }} --><p>{{ x }}', '{"x": "-->"}', 'html');

-- Errors of the text: line, column, hint.
SELECT try(s) FROM unnest(ARRAY[
	E'one\ntwo {% if a %}', 'x {{ a', 'x {% if', '{% endif %}', '{% else %}', '{% fro x in y %}', '{{ a | upcas }}', '{{ a | plus }}',
	'{{ a | upcase: 1 }}', '{{ "a }}', '{{ a b }}', '{{ a.b. }}', '{{ a[1 }}', '{% for x y %}{% endfor %}', '{% assign = 1 %}',
	'{% if a == %}{% endif %}', '{% if a & b %}{% endif %}', '{% raw %}', '{% comment %}', '{% render x %}', '{% cycle %}',
	'{{ a | default: allow: 1 }}', E'ü\n  é {{ ? }}', '{% for x in y limit %}{% endfor %}', '{% capture %}{% endcapture %}', '{% case %}{% endcase %}', '{% %}x{% 5 %}']) AS s;
-- Errors of the data.
SELECT try(s, '{"a": [1, "x"], "t": "abc", "n": {"x": 1}}') FROM unnest(ARRAY[
	'{% if t > 1 %}{% endif %}', '{{ a | sort }}', '{{ 1 | divided_by: 0 }}', '{{ t | slice: "b" }}', '{{ a | map: "x" }}', '{{ "%zz%ff" | url_decode }}',
	'{{ "$" | base64_decode }}', '{{ "/w==" | base64_decode }}', '{{ "AA==" | base64_decode }}', '{{ "%00" | url_decode }}', '{% render "none" %}', '{% include n %}', '{% for x in a limit: t %}{% endfor %}', E'a\n\n  {{ t | concat: t }}']) AS s;
SELECT marketing.render_liquid('x {% if n > 3 %}{% abort "too many" %}{% endif %} y', '{"n": 4}');
SELECT marketing.render_liquid('x', '[]');
SELECT marketing.render_liquid('x', '{}', 'xml');
SELECT marketing.render_liquid(NULL), marketing.render_liquid('{{ a }}', NULL);

-- Bounds: an error, never a crash or a wait.
SELECT try('{% for i in (1..100000000) %}x{% endfor %}');
SELECT try('{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}');
SELECT try('{% for i in (1..20000) %}' || repeat('0123456789', 10) || '{% endfor %}');
SELECT try('{% assign s = "0123456789" %}{% for i in (1..40) %}{% assign s = s | append: s %}{% endfor %}{{ s | size }}');
SELECT try('{% assign n = 9 %}{% for i in (1..60) %}{% assign n = n | times: n %}{% endfor %}{{ n }}');
SELECT try('{% assign a = "a" | split: "" %}{% for i in (1..40) %}{% assign a = a | concat: a %}{% endfor %}');
SELECT left(try(repeat('{% if a %}', 1000)), 200);
SELECT left(try('{{ ' || repeat('a[', 5000) || '1' || repeat(']', 5000) || ' }}'), 200);
SELECT left(try('{% liquid ' || repeat('liquid ', 5000) || ' echo 1 %}'), 200);
SELECT left(try(repeat('x', 1100000)), 200);
SELECT length(try(repeat('x', 1000000)));
SELECT left(try((SELECT string_agg('{{ v' || g || ' }}', '') FROM generate_series(1, 1100) AS g)), 200);
SELECT try('{{ a | join: "," | size }} {{ a | json | size }}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 50000) AS g)));
SELECT try('{{ a | uniq | size }}', jsonb_build_object('a', (SELECT jsonb_agg(g) FROM generate_series(1, 20000) AS g)));
SELECT left(try('{{ a }}', ('{"a": ' || repeat('[', 5000) || repeat(']', 5000) || '}')::jsonb), 100);
SELECT left(try('{{ a | json }}', ('{"a": ' || repeat('[', 3000) || repeat(']', 3000) || '}')::jsonb), 100);

-- Snippets: scope, recursion, replacing.
SELECT marketing.define_snippet('show', 'hello {{ who }}{{ outer }}{% assign leak = 1 %}');
SELECT marketing.define_snippet('loop', '{% render "loop" %}');
SELECT marketing.define_snippet('bad', E'a\n{% if %}');
SELECT marketing.define_snippet('', 'x');
SELECT marketing.define_snippet(repeat('n', 64), 'x');
SELECT marketing.define_snippet(E'a\nb', 'x');
SELECT try('{% assign outer = "!" %}{% render "show", who: "you" %} {% include "show", who: "me" %} {{ leak }}');
SELECT try('{% render "loop" %}');
SELECT marketing.define_snippet('show', 'hello {{ who }}{{ outer }}{% assign leak = 1 %}');
SELECT marketing.define_snippet('show', 'bye {{ who }}');
SELECT try('{% render "show", who: "<you>" %}', '{}', 'html');
BEGIN;
SELECT marketing.define_snippet('show', 'other');
SELECT try('{% render "show" %}');
ROLLBACK;
SELECT try('{% render "show" %}');
SELECT marketing.drop_snippet('shwo');
SELECT marketing.drop_snippet('show');
SELECT try('{% render "show" %}');

-- work that grows with the square of a text ends in an error, or is done once
SELECT try('{{ a | replace_last: b, "x" }}', jsonb_build_object('a', repeat('a', 300000), 'b', repeat('a', 100000) || 'b'));
SELECT try('{{ a | strip_html | size }}', jsonb_build_object('a', repeat('<script', 100000)));
SELECT try('{{ a | strip_html | size }}', jsonb_build_object('a', repeat('<b>x</b> ', 20000)));
SELECT try('{{ a | append: a | size }}', jsonb_build_object('a', repeat('a', 1000000)));
SELECT try('{{ a | sort_natural | size }}', jsonb_build_object('a', (SELECT jsonb_agg(repeat('a', 10000) || i) FROM generate_series(1, 2000) AS i)));
SELECT try('{% raw %}' || repeat('{%', 300000) || ' %}{% endraw %}{{ 1 }}', '{}') ~ '1$';
SELECT octet_length(marketing_internal.html_to_text(repeat('<a href="', 100000)));

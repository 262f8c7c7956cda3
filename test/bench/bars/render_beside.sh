#!/bin/bash
# render_beside.sh: renders a second of one backend beside liquidjs and handlebars in one process of node,
# of the same mail (render_shop.psql) with the same data and every value escaped for HTML, taken in turns.
# The two are installed from the npm registry into a scratch directory. Our time holds what SQL adds: the
# text is made a value of PostgreSQL; theirs begins with objects that are built already. The bar: faster
# than both.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
dir=$(mktemp -d /tmp/ma_render.XXXXXX)
trap 'rm -rf "$dir"' EXIT
rounds=${ROUNDS:-5}
n=${SCALE:-50000}

psql -X -q -v ON_ERROR_STOP=1 -f "$here/../render_shop.psql"
psql -X -At -c 'SELECT template()' > "$dir/template.liquid"
psql -X -At -c 'SELECT data()' > "$dir/data.json"
psql -X -At -c "SELECT marketing.render_liquid(template(), data(), 'html')" > "$dir/ours.html"
(cd "$dir" && HOME="$dir" npm install --silent --no-audit --no-fund --cache "$dir/cache" liquidjs@10 handlebars@4 > npm.log 2>&1) || {
	cat "$dir/npm.log"; echo "render_beside: npm could not install liquidjs and handlebars"; exit 1; }

cat > "$dir/beside.js" <<'JS'
const fs = require('fs');
const what = process.argv[2], n = +process.argv[3];
const source = fs.readFileSync('template.liquid', 'utf8').trimEnd();
const data = JSON.parse(fs.readFileSync('data.json', 'utf8'));
let render;
if (what === 'liquidjs') {
	const { Liquid } = require('liquidjs');
	const engine = new Liquid({ outputEscape: 'escape' });
	const template = engine.parse(source);
	render = () => engine.renderSync(template, data);
} else {
	const handlebars = require('handlebars');
	handlebars.registerHelper('over', (value, limit) => value > limit);
	const template = handlebars.compile(source
		.replace('{% if order.gift %}', '{{#if order.gift}}').replace('{% endif %}', '{{/if}}')
		.replace('{% if order.total > 100 %}', '{{#if (over order.total 100)}}').replace('{% else %}', '{{else}}').replace('{% endif %}', '{{/if}}')
		.replace('{% for item in order.items %}', '{{#each order.items as |item|}}').replace('{% endfor %}', '{{/each}}'));
	render = () => template(data);
}
for (let i = 0; i < 2000; i++) render();
let octets = 0;
const began = process.hrtime.bigint();
for (let i = 0; i < n; i++) octets += render().length;
const us = Number(process.hrtime.bigint() - began) / 1000 / n;
const plain = text => text.replace(/&#(39|x27);/g, "'").replace(/&#x3D;/g, '=');
// Numbers of jsonb keep their digits, those of JavaScript do not: 149.90 is 149.9 there.
const same = plain(render()).replace(/\.(\d)0\b/g, '.$1') === plain(fs.readFileSync('ours.html', 'utf8').trimEnd()).replace(/\.(\d)0\b/g, '.$1').replace(/\.0</g, '<');
console.log(us.toFixed(3), same ? 'same' : 'other');
JS

declare -A best
declare -A same
keep()
{
	if [ -z "${best[$1]:-}" ] || awk "BEGIN { exit !($2 < ${best[$1]}) }"; then best[$1]=$2; fi
}
for ((round = 0; round < rounds; round++)); do
	keep ours "$(psql -X -At <<SQL | sed -n 's/^us: //p'
SET jit = off;
SELECT template() AS t, data()::text AS d \gset
SELECT count(octet_length(marketing.render_liquid(:'t', :'d'::jsonb, 'html'))) FROM generate_series(1, 2000);
SELECT clock_timestamp() AS began \gset
SELECT count(octet_length(marketing.render_liquid(:'t', :'d'::jsonb, 'html'))) FROM generate_series(1, $n * 4);
SELECT 'us: ' || round((extract(epoch FROM clock_timestamp() - :'began') * 1e6 / ($n * 4))::numeric, 3);
SQL
)"
	for what in liquidjs handlebars; do
		read -r us equal < <(cd "$dir" && node beside.js "$what" "$n")
		keep "$what" "$us"
		same[$what]=$equal
	done
done
printf '%-12s %12s %10s  %s\n' what 'a second' 'us each' text
for what in ours liquidjs handlebars; do
	awk -v w="$what" -v us="${best[$what]}" -v s="${same[$what]:-same}" \
		'BEGIN { printf "%-12s %12d %10.2f  %s\n", w, 1e6 / us, us, s }'
done
awk -v o="${best[ours]}" -v l="${best[liquidjs]}" -v h="${best[handlebars]}" \
	'BEGIN { printf "%.1f times liquidjs, %.1f times handlebars\n", l / o, h / o; exit !(o < l && o < h) }'

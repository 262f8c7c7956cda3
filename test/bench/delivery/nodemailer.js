// nodemailer.js PORT CONNECTIONS MESSAGES FILE: the mail of the file so many times through a pool of
// nodemailer; prints how many a second went.
const fs = require('fs');
const { createTransport } = require('nodemailer');
const [port, connections, messages, file] = process.argv.slice(2);
const raw = fs.readFileSync(file);
const transport = createTransport({ host: '127.0.0.1', port: +port, secure: false, ignoreTLS: true, pool: true,
	maxConnections: +connections, maxMessages: Infinity });
const envelope = { from: 'hello@shop.example', to: ['somebody@example.com'] };

(async () => {
	let begun = 0;
	const one = async () => {
		while (begun < +messages) {
			begun++;
			await transport.sendMail({ envelope, raw });
		}
	};
	const began = process.hrtime.bigint();
	// Twice as many as connections, so that each has one waiting.
	await Promise.all(Array.from({ length: 2 * +connections }, one));
	console.log((+messages / (Number(process.hrtime.bigint() - began) / 1e9)).toFixed(0));
	transport.close();
})().catch((error) => { console.error(error); process.exit(1); });

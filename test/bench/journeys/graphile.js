// graphile.js JOBS: so many jobs of graphile-worker that do nothing, from PGDATABASE; prints how many a second it
// took from its queue, started with the options its documentation gives for many small jobs.
const { Logger, run, runMigrations } = require('graphile-worker');
const { Pool } = require('pg');
const jobs = +process.argv[2];
const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message); });

(async () => {
	const pgPool = new Pool({ host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE, max: 30 });
	pgPool.on('error', console.error);
	pgPool.on('connect', (client) => client.on('error', console.error));
	await runMigrations({ pgPool, logger });
	await pgPool.query(`SELECT graphile_worker.add_jobs(array_agg(json_populate_record(NULL::graphile_worker.job_spec,
		json_build_object('identifier', 'nothing', 'payload', json_build_object('i', i))))) FROM generate_series(1, ${jobs}) AS i`);
	await pgPool.query('ANALYZE');
	let done = 0;
	let ended;
	const all = new Promise((resolve) => { ended = resolve; });
	const began = process.hrtime.bigint();
	const runner = await run({
		pgPool, logger, noHandleSignals: true, concurrency: 24, pollInterval: 100,
		preset: { worker: { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
		taskList: { nothing: async () => { if (++done === jobs) ended(); } },
	});
	await all;
	console.log((jobs / (Number(process.hrtime.bigint() - began) / 1e9)).toFixed(0));
	await runner.stop();
	await pgPool.end();
})().catch((error) => { console.error(error); process.exit(1); });

-- 62_journey_builders: definitions of journeys written as calls: each gives the JSON that one would write by hand, and nothing more.

CREATE FUNCTION marketing.step_wait(duration text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('wait', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_wait(text, text) IS
	'The step {"wait": duration}.';

CREATE FUNCTION marketing.step_wait_for_time(times jsonb, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('wait_for_time', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_wait_for_time(jsonb, text) IS
	'The step {"wait_for_time": times}.';

CREATE FUNCTION marketing.step_send(template text, otherwise jsonb[] DEFAULT NULL, nowait boolean DEFAULT NULL, id text DEFAULT NULL, recipient text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('send', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('otherwise', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('nowait', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($4)) END
			OPERATOR(pg_catalog.||) CASE WHEN $5 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('to', pg_catalog.to_jsonb($5)) END;
	END;
COMMENT ON FUNCTION marketing.step_send(text, jsonb[], boolean, text, text) IS
	'The step {"send": template, "to": recipient}; otherwise: steps for when it is not sent.';

CREATE FUNCTION marketing.step_webhook(template text, otherwise jsonb[] DEFAULT NULL, nowait boolean DEFAULT NULL, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('webhook', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('otherwise', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('nowait', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($4)) END;
	END;
COMMENT ON FUNCTION marketing.step_webhook(text, jsonb[], boolean, text) IS
	'The step {"webhook": template}.';

CREATE FUNCTION marketing.step_add_to_list(list text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('add_to_list', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_add_to_list(text, text) IS
	'The step {"add_to_list": list}.';

CREATE FUNCTION marketing.step_remove_from_list(list text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('remove_from_list', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_remove_from_list(text, text) IS
	'The step {"remove_from_list": list}.';

CREATE FUNCTION marketing.step_enroll(journey text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('enroll', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_enroll(text, text) IS
	'The step {"enroll": journey}.';

CREATE FUNCTION marketing.step_goto(step text, at_most int, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('goto', $1, 'at_most', $2)
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($3)) END;
	END;
COMMENT ON FUNCTION marketing.step_goto(text, int, text) IS
	'The step {"goto": step, "at_most": at_most}.';

CREATE FUNCTION marketing.step_exit(reason text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('exit', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_exit(text, text) IS
	'The step {"exit": reason}.';

CREATE FUNCTION marketing.step_update(attributes jsonb, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('update', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_update(jsonb, text) IS
	'The step {"update": attributes}.';

CREATE FUNCTION marketing.step_sql(function_name text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('sql', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_sql(text, text) IS
	'The step {"sql": function}.';

CREATE FUNCTION marketing.step_notify(channel text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('notify', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_notify(text, text) IS
	'The step {"notify": channel}.';

CREATE FUNCTION marketing.step_score(model text, points numeric, reason text DEFAULT NULL, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('score', $1, 'points', $2)
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('reason', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($4)) END;
	END;
COMMENT ON FUNCTION marketing.step_score(text, numeric, text, text) IS
	'The step {"score": model, "points": points, "reason": reason}.';

CREATE FUNCTION marketing.step_stage(stage text, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('stage', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_stage(text, text) IS
	'The step {"stage": stage}.';

CREATE FUNCTION marketing.step_task(title text, assign text DEFAULT NULL, due text DEFAULT NULL, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('task', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('assign', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('due', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($4)) END;
	END;
COMMENT ON FUNCTION marketing.step_task(text, text, text, text) IS
	'The step {"task": title, "assign": assign, "due": due}.';

CREATE FUNCTION marketing.step_branch(paths jsonb[], id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('branch', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_branch(jsonb[], text) IS
	'The step {"branch": paths}: of path_if() and, last, path_else().';

CREATE FUNCTION marketing.step_split(paths jsonb[], id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('split', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.step_split(jsonb[], text) IS
	'The step {"split": paths}: of path_share() and, last, path_else().';

CREATE FUNCTION marketing.step_test(variants jsonb, measure text, after text, no_winner text, share numeric DEFAULT NULL, rest text DEFAULT NULL, otherwise jsonb[] DEFAULT NULL, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('test', pg_catalog.jsonb_build_object('variants', $1, 'measure', pg_catalog.jsonb_build_object('event', $2), 'after', $3, 'no_winner', $4)
				OPERATOR(pg_catalog.||) CASE WHEN $5 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('share', pg_catalog.to_jsonb($5)) END
				OPERATOR(pg_catalog.||) CASE WHEN $6 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('rest', pg_catalog.to_jsonb($6)) END)
			OPERATOR(pg_catalog.||) CASE WHEN $7 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('otherwise', pg_catalog.to_jsonb($7)) END
			OPERATOR(pg_catalog.||) CASE WHEN $8 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($8)) END;
	END;
COMMENT ON FUNCTION marketing.step_test(jsonb, text, text, text, numeric, text, jsonb[], text) IS
	'The step {"test": {"variants": variants, "measure": {"event": measure}, "after": after, "no_winner": no_winner, "share": share, "rest": rest}}; otherwise: steps for when it is not sent.';

CREATE FUNCTION marketing.step_wait_until(conditions jsonb, timeout text, otherwise jsonb[] DEFAULT NULL, id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('wait_until', $1, 'timeout', $2)
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('else', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('id', pg_catalog.to_jsonb($4)) END;
	END;
COMMENT ON FUNCTION marketing.step_wait_until(jsonb, text, jsonb[], text) IS
	'The step {"wait_until": conditions, "timeout": timeout, "else": otherwise}. conditions: one until_event() or until_if(), or several with steps of their own as to_jsonb(ARRAY[...]).';

CREATE FUNCTION marketing.until_event(event text, condition text DEFAULT NULL, step text DEFAULT NULL, since text DEFAULT NULL, steps jsonb[] DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('event', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('where', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('step', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('since', pg_catalog.to_jsonb($4)) END
			OPERATOR(pg_catalog.||) CASE WHEN $5 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('then', pg_catalog.to_jsonb($5)) END;
	END;
COMMENT ON FUNCTION marketing.until_event(text, text, text, text, jsonb[]) IS
	'What a wait_until waits for: {"event": event, "where": condition, "step": step, "since": since, "then": steps}.';

CREATE FUNCTION marketing.until_if(rule text, steps jsonb[] DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('if', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('then', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.until_if(text, jsonb[]) IS
	'What a wait_until waits for: {"if": rule, "then": steps}.';

CREATE FUNCTION marketing.path_if(rule text, steps jsonb[]) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('if', $1, 'then', $2);
	END;
COMMENT ON FUNCTION marketing.path_if(text, jsonb[]) IS
	'A path of a branch: {"if": rule, "then": steps}.';

CREATE FUNCTION marketing.path_share(share numeric, steps jsonb[] DEFAULT NULL, name text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('share', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('then', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('name', pg_catalog.to_jsonb($3)) END;
	END;
COMMENT ON FUNCTION marketing.path_share(numeric, jsonb[], text) IS
	'A path of a split: {"share": share, "then": steps, "name": name}.';

CREATE FUNCTION marketing.path_else(steps jsonb[]) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('else', $1);
	END;
COMMENT ON FUNCTION marketing.path_else(jsonb[]) IS
	'The last path of a branch or split: {"else": steps}.';

CREATE FUNCTION marketing.entry_event(event text, condition text DEFAULT NULL, key text DEFAULT NULL, on_repeat text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('event', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('where', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('key', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('on_repeat', pg_catalog.to_jsonb($4)) END;
	END;
COMMENT ON FUNCTION marketing.entry_event(text, text, text, text) IS
	'The entry {"event": event, "where": condition, "key": key, "on_repeat": on_repeat}.';

CREATE FUNCTION marketing.entry_segment_entered(segment text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('segment_entered', $1);
	END;
COMMENT ON FUNCTION marketing.entry_segment_entered(text) IS
	'The entry {"segment_entered": segment}.';

CREATE FUNCTION marketing.entry_segment_left(segment text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('segment_left', $1);
	END;
COMMENT ON FUNCTION marketing.entry_segment_left(text) IS
	'The entry {"segment_left": segment}.';

CREATE FUNCTION marketing.entry_date(date_column text, moved_by text DEFAULT NULL, clock text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('date', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('offset', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('at', pg_catalog.to_jsonb($3)) END;
	END;
COMMENT ON FUNCTION marketing.entry_date(text, text, text) IS
	'The entry {"date": date_column, "offset": moved_by, "at": clock}.';

CREATE FUNCTION marketing.entry_anniversary(date_column text, moved_by text DEFAULT NULL, clock text DEFAULT NULL, leap text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('anniversary', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('offset', pg_catalog.to_jsonb($2)) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('at', pg_catalog.to_jsonb($3)) END
			OPERATOR(pg_catalog.||) CASE WHEN $4 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('leap', pg_catalog.to_jsonb($4)) END;
	END;
COMMENT ON FUNCTION marketing.entry_anniversary(text, text, text, text) IS
	'The entry {"anniversary": date_column, "offset": moved_by, "at": clock, "leap": leap}.';

CREATE FUNCTION marketing.exit_event(event text, condition text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('event', $1)
			OPERATOR(pg_catalog.||) CASE WHEN $2 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('where', pg_catalog.to_jsonb($2)) END;
	END;
COMMENT ON FUNCTION marketing.exit_event(text, text) IS
	'For "exit_on": {"event": event, "where": condition}.';

CREATE FUNCTION marketing.exit_if(rule text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('if', $1);
	END;
COMMENT ON FUNCTION marketing.exit_if(text) IS
	'For "exit_on": {"if": rule}.';

CREATE FUNCTION marketing.journey(entry jsonb, steps jsonb[], exit_on jsonb[] DEFAULT NULL, more jsonb DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	BEGIN ATOMIC
		SELECT pg_catalog.jsonb_build_object('steps', $2)
			OPERATOR(pg_catalog.||) CASE WHEN $1 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('entry', $1) END
			OPERATOR(pg_catalog.||) CASE WHEN $3 IS NULL THEN '{}'::pg_catalog.jsonb ELSE pg_catalog.jsonb_build_object('exit_on', $3) END
			OPERATOR(pg_catalog.||) COALESCE($4, '{}'::pg_catalog.jsonb);
	END;
COMMENT ON FUNCTION marketing.journey(jsonb, jsonb[], jsonb[], jsonb) IS
	'A definition for define_journey(). entry: of entry_event() and the like, null: by enroll() alone; steps: of step_...(); exit_on: of exit_event() and exit_if(); more: all other keys, as {"reentry": "once", "holdout": 0.1}.';

/*
 * help.c
 *		marketing.help(): what there is, in the words of a person at psql.
 *
 * The topics and their examples are text (help_topics.c); signatures and what each
 * function does come from the catalog, so they cannot tell of what is not there.
 */
#include "base/base.h"

#include "admin/admin.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

static const MaHelpTopic *find_topic(const char *name);
static void say(ReturnSetInfo *result, const char *line);
static void say_contents(ReturnSetInfo *result);
static void say_topic(ReturnSetInfo *result, const MaHelpTopic *topic);
static void say_object(ReturnSetInfo *result, const char *name);

MA_FUNCTION(ma_help);

/* help(topic text DEFAULT NULL) RETURNS SETOF text */
Datum
ma_help(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const MaHelpTopic *topic = NULL;
	MaCall		call;

	if (!PG_ARGISNULL(0))
		topic = find_topic(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	ma_call_begin(&call);
	if (topic == NULL)
		say_contents(result);
	else
		say_topic(result, topic);
	ma_call_end(&call);
	return (Datum) 0;
}

/* The topic of this name, its s or not, or that of a function or view of this name. */
static const MaHelpTopic *
find_topic(const char *name)
{
	List	   *known = NIL;
	char	   *nearest;

	for (int i = 0; i < ma_help_ntopics; i++)
		if (pg_strcasecmp(name, ma_help_topics[i].name) == 0 ||
			pg_strcasecmp(psprintf("%ss", name), ma_help_topics[i].name) == 0)
			return &ma_help_topics[i];
	for (int i = 0; i < ma_help_ntopics; i++)
	{
		known = lappend(known, unconstify(char *, ma_help_topics[i].name));
		for (int j = 0; ma_help_topics[i].names[j] != NULL; j++)
		{
			if (pg_strcasecmp(name, ma_help_topics[i].names[j]) == 0)
				return &ma_help_topics[i];
			known = lappend(known, unconstify(char *, ma_help_topics[i].names[j]));
		}
	}
	nearest = ma_nearest(name, known);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("there is no help on \"%s\"", name),
			 nearest ? errhint("Did you mean %s?", nearest) :
			 errhint("SELECT marketing.help() lists the topics.")));
}

static void
say(ReturnSetInfo *result, const char *line)
{
	Datum		value = CStringGetTextDatum(line);
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
}

/* The topics, a line each. */
static void
say_contents(ReturnSetInfo *result)
{
	for (int i = 0; i < ma_help_ntopics; i++)
		say(result, psprintf("%-10s %s", ma_help_topics[i].name, ma_help_topics[i].about));
	say(result, "");
	say(result, "SELECT marketing.help('journeys'), for example, shows functions and an example;");
	say(result, "\\df+ marketing.* and \\dv+ marketing.* show all of them.");
}

static void
say_topic(ReturnSetInfo *result, const MaHelpTopic *topic)
{
	say(result, psprintf("%s: %s", topic->name, topic->about));
	say(result, "");
	for (int i = 0; topic->names[i] != NULL; i++)
		say_object(result, topic->names[i]);
	for (int i = 0; topic->example[i] != NULL; i++)
		say(result, psprintf("    %s", topic->example[i]));
}

/* Signature and first sentence of what is said of it; of overloads the one for text. */
static void
say_object(ReturnSetInfo *result, const char *name)
{
	static MaStatement find = {
		"SELECT o.call, pg_catalog.split_part(o.about, '. ', 1) FROM ("
		"SELECT pg_catalog.format('marketing.%s(%s)', p.proname, "
		"pg_catalog.pg_get_function_arguments(p.oid)) AS call, "
		"pg_catalog.obj_description(p.oid, 'pg_proc') AS about, p.oid AS place "
		"FROM pg_catalog.pg_proc AS p "
		"WHERE p.pronamespace OPERATOR(pg_catalog.=) 'marketing'::pg_catalog.regnamespace "
		"AND p.proname OPERATOR(pg_catalog.=) $1 "
		"UNION ALL "
		"SELECT pg_catalog.format('view marketing.%s', c.relname), "
		"pg_catalog.obj_description(c.oid, 'pg_class'), c.oid "
		"FROM pg_catalog.pg_class AS c "
		"WHERE c.relnamespace OPERATOR(pg_catalog.=) 'marketing'::pg_catalog.regnamespace "
		"AND c.relname OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) 'v') AS o ORDER BY o.place",
		1, {NAMEOID}
	};
	NameData	key;
	Datum		value;
	MaRows		rows;

	namestrcpy(&key, name);
	value = NameGetDatum(&key);
	rows = ma_run(&find, &value, NULL, MA_RUN_READ);
	if (rows.n == 0)
		elog(ERROR, "cannot happen: help names \"%s\", which is not there", name);
	say(result, ma_text(&rows, 0, 1));
	say(result, psprintf("    %s", ma_text(&rows, 0, 2)));
	say(result, "");
}

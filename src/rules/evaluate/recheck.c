/*
 * recheck.c
 *		`sql ( <sql> ) recheck every DUR`: a condition over the contact that may also read
 *		other tables, asked again by the worker from time to time.
 *
 * Nothing tells when the answer changes, so the rule is the worker's: it is asked when
 * a row the contact stands in changes, and at instants DUR apart that differ from
 * contact to contact, so that not all of them are due at once.  These instants are
 * fixed, so asking in between moves no timer.
 */
#include "base/base.h"

#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "rules/evaluator.h"
#include "rules/leaf.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

/* A month is as short as it gets: every month is at least once a month. */
#define DAYS_A_MONTH 28

static void require_select(const MaParser *parser, int byte, Oid relid, Oid role, bool definer);
static void check_relation(const MaParser *parser, int byte, Oid relid, Oid runner);

/* sql ( <sql> ) recheck every DUR */
MaNode *
ma_parse_recheck(MaParser *parser)
{
	MaNode	   *node = palloc0_object(MaNode);
	int			first = parser->at + 2;
	int			close = ma_match_parenthesis(parser, parser->at + 1);
	int			duration;

	parser->at = close + 1;
	if (!ma_is_word(ma_token(parser, 0), "recheck"))
		ma_parse_failed(parser, parser->at, "\"recheck every\" is expected after sql (...)",
						"A condition that depends on the contact's columns only is written as it is, without sql (...).");
	parser->at++;
	ma_expect_word(parser, "every", "after \"recheck\"");
	duration = parser->at;
	node->kind = MA_NODE_RECHECK;
	node->to = ma_parse_duration(parser);
	if (node->to.months == 0 && node->to.usecs < USECS_PER_MINUTE)
		ma_parse_failed(parser, duration, "it is asked again once a minute at most", NULL);
	node->attribute = ma_recheck_attribute(parser, first, close);
	parser->rule->sync = false;
	parser->rule->recheck = Max(parser->rule->recheck, ma_recheck_interval(&node->to));
	return node;
}

/* ---- what its sub-selects read ---- */

static void
require_select(const MaParser *parser, int byte, Oid relid, Oid role, bool definer)
{
	if (pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK &&
		object_aclcheck(NamespaceRelationId, get_rel_namespace(relid), role,
						ACL_USAGE) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s: permission denied for table \"%s\"", parser->what, get_rel_name(relid)),
			 definer ? errhint("Who defines a rule needs SELECT on what it reads.") :
			 errdetail("The condition is asked with the rights of %s, who owns the contacts' table it is about.",
					   GetUserNameFromId(role, false)),
			 definer ? 0 : errhint("Run GRANT SELECT ON %s TO %s.", get_rel_name(relid),
								   GetUserNameFromId(role, false)),
			 ma_rule_place(parser->text, byte)));
}

/* A superuser would run the functions of a view with all his rights. */
static void
check_relation(const MaParser *parser, int byte, Oid relid, Oid runner)
{
	char		kind = get_rel_relkind(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	bool		plain = kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE ||
		kind == RELKIND_MATVIEW;

	if (strcmp(schema, MA_SCHEMA) == 0 || strcmp(schema, MA_INTERNAL) == 0 ||
		strcmp(schema, MA_RULE_SCHEMA) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: tables of marketing_automation cannot be read here", parser->what),
				 errhint("Conditions of rules say what it knows: any, count(), in segment, subscribed."),
				 ma_rule_place(parser->text, byte)));
	/* Later on a right that is missing is an error of the evaluation: the rule fails alone. */
	if (OidIsValid(parser->definer))
	{
		require_select(parser, byte, relid, parser->definer, true);
		require_select(parser, byte, relid, runner, false);
	}
	if (superuser_arg(runner) && !plain)
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: only tables can be read here, \"%s\" is none", parser->what,
						get_rel_name(relid)),
				 errdetail("What is read would be read with the rights of superuser %s.",
						   GetUserNameFromId(runner, false)),
				 errhint("Give the contacts' table to a role that is no superuser."),
				 ma_rule_place(parser->text, byte)));
	parser->rule->plain &= plain;
}

void
ma_recheck_check(const MaParser *parser, int byte, List *relations, const MaSource *source)
{
	Oid			runner = source ? ma_relation_owner(source->table->relid) :
		ma_extension_required()->owner;
	ListCell   *cell;

	foreach(cell, relations)
		check_relation(parser, byte, lfirst_oid(cell), runner);
}

/* ---- when it is asked again ---- */

int64
ma_recheck_interval(const MaDuration *every)
{
	return every->months * DAYS_A_MONTH * USECS_PER_DAY + every->usecs;
}

int64
ma_rule_recheck(const MaRule *rule)
{
	int64		longest = rule->recheck;
	ListCell   *cell;

	foreach(cell, rule->segments)
		longest = Max(longest, ma_rule_recheck(((MaNode *) lfirst(cell))->rule));
	return longest;
}

/*
 * The answer and the contact's next instant.  The tables are read as they are now, so
 * the instants before now are past, whatever the rule is evaluated as of.
 */
MaTruth
ma_recheck(Moment *moment, const MaNode *node)
{
	const Batch *batch = moment->batch;
	int			place = moment->contact * batch->set->nattributes + node->attribute->place;
	int64		every = ma_recheck_interval(&node->to);
	int64		id = batch->contacts[moment->contact].contact_id;
	uint64		hash = hash_bytes_uint32_extended((uint32) id, 0);
	int64		phase = (int64) (hash & PG_INT64_MAX) % every;
	TimestampTz now = Max(moment->at, ma_now());
	int64		gone = (now - phase) % every;

	if (gone < 0)
		gone += every;
	return (MaTruth) {!batch->nulls[place] && DatumGetBool(batch->values[place]),
		now - gone + every};
}

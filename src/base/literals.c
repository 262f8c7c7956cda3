/*
 * literals.c
 *		No literal of an expression is of a type whose input may call what users wrote.
 *
 * The parser turns a literal into a value at once, with the rights of whoever parses:
 * of our owner when a rule is compiled, or when its view is made.  For a type that
 * holds a domain, which may be in an array, a row or a range, that calls the domain's
 * check.  So an expression with literals is analysed twice, and at first they are
 * parameters: what the parser wants to make of a parameter it asks, and nothing is
 * called before.  A text that is cast is another thing: it is cast when a row is read,
 * as the owner of the table.
 */
#include "base/base.h"

#include "base/expression_internal.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_node.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static bool take(Node *node, MaLiterals *literals);
static Node *parameter_hook(ParseState *pstate, ParamRef *reference);
static Node *coerce_hook(ParseState *pstate, Param *parameter, Oid type, int32 typmod,
						 int location);

bool
ma_literals_take(Node *raw, MaLiterals *literals)
{
	(void) take(raw, literals);
	return literals->texts != NIL;
}

/* Walks the raw tree; modifiers of types stay what they are. */
static bool
take(Node *node, MaLiterals *literals)
{
	A_Const    *constant;
	ParamRef	reference = {T_ParamRef};

	if (node == NULL || IsA(node, TypeName))
		return false;
	if (!IsA(node, A_Const))
		return raw_expression_tree_walker(node, take, literals);
	constant = castNode(A_Const, node);
	if (constant->isnull || !IsA(&constant->val, String))
		return false;
	literals->texts = lappend(literals->texts, constant->val.sval.sval);
	/* Below zero: a $1 of the user's is refused. */
	reference.number = -list_length(literals->texts);
	reference.location = constant->location;
	StaticAssertStmt(sizeof(ParamRef) <= sizeof(A_Const), "it takes the other's place");
	*(ParamRef *) node = reference;
	return false;
}

void
ma_literals_watch(ParseState *pstate)
{
	pstate->p_paramref_hook = parameter_hook;
	pstate->p_coerce_param_hook = coerce_hook;
}

static Node *
parameter_hook(ParseState *pstate, ParamRef *reference)
{
	Param	   *parameter = makeNode(Param);

	if (reference->number >= 0)
		return NULL;
	parameter->paramkind = PARAM_EXTERN;
	parameter->paramid = reference->number;
	parameter->paramtype = UNKNOWNOID;
	parameter->paramtypmod = -1;
	parameter->location = reference->location;
	return (Node *) parameter;
}

/* The literal as a value of the type it is to have, unless its input may be a user's. */
static Node *
coerce_hook(ParseState *pstate, Param *parameter, Oid type, int32 typmod, int location)
{
	MaLiterals *literals = pstate->p_ref_hook_state;
	const char *text = list_nth(literals->texts, -parameter->paramid - 1);
	Const	   *value;

	/* What a domain itself checks is checked when it is evaluated. */
	if (ma_makes_user_value(getBaseType(type)))
		ereport(ERROR,
				(errcode(ERRCODE_MA_INVALID_EXPRESSION),
				 errmsg("%s: a literal cannot be of type %s", literals->what,
						format_type_be(type)),
				 errdetail("Its input may call functions that are not built in, while the expression is parsed."),
				 errhint("Cast a text, which is done when a row is read: ('...'::text)::%s.",
						 format_type_be(type)),
				 parser_errposition(pstate, parameter->location)));
	value = makeConst(UNKNOWNOID, -1, InvalidOid, -2, CStringGetDatum(text), false, false);
	value->location = parameter->location;
	return coerce_type(pstate, (Node *) value, UNKNOWNOID, type, typmod, COERCION_EXPLICIT,
					   COERCE_EXPLICIT_CAST, location);
}
